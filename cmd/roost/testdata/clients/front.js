// A server in front of another one, which changes its pages.
const http = require('node:http');
const net = require('node:net');

/**
 * front(origin, { html, own }) listens on a port of its own. html(text, response) sends a page;
 * own(request, response) returns true for what it has responded to itself. All else, and
 * WebSockets, are those of origin.
 */
exports.front = function front(origin, { html, own = () => false }) {
  const { hostname, port } = new URL(origin);
  const server = http.createServer(async (request, response) => {
    if (await own(request, response)) return;
    const from = http.request({ hostname, port, path: request.url, method: request.method, headers: { ...request.headers, 'accept-encoding': 'identity' } }, async (answer) => {
      response.on('close', () => answer.destroy());
      const { 'content-length': length, ...headers } = answer.headers;
      if (!/^text\/html/.test(headers['content-type'])) {
        response.writeHead(answer.statusCode, answer.headers);
        response.flushHeaders();
        answer.pipe(response);
        return;
      }
      const parts = [];
      for await (const part of answer) parts.push(part);
      response.writeHead(answer.statusCode, headers);
      html(Buffer.concat(parts).toString(), response);
    });
    from.on('error', () => response.destroy());
    request.pipe(from);
  });
  server.on('upgrade', (request, near, head) => {
    const far = net.connect(port, hostname, () => {
      const headers = [];
      for (let i = 0; i < request.rawHeaders.length; i += 2) headers.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
      far.write(`GET ${request.url} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`);
      far.write(head);
      near.pipe(far).pipe(near);
    });
    for (const [socket, other] of [[near, far], [far, near]]) socket.on('error', () => {}).on('close', () => other.destroy());
  });
  return new Promise((done) => { server.listen(0, '127.0.0.1', () => done(server)); });
};
