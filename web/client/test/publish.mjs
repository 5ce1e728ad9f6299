// publish publishes to a server of the native protocol without the client, and returns
// the position.
export async function publish(server, channel, data) {
  const lines = [{ connect: {} }, { id: 1, publish: { channel, data } }];
  const response = await fetch(`http://${server}/v1/poll`, { method: 'POST', body: lines.map((l) => JSON.stringify(l)).join('\n') });
  return (await response.json()).find((m) => m.id === 1).publish;
}

export const upTo = (n) => Array.from({ length: n }, (_, i) => i + 1);
