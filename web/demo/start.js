// The start page: live figures, and where the dashboard is.
import { $, clockText, connect, number, reachable } from './demo.js';

const roost = connect();
$('snippet').textContent = `new WebSocket('${location.origin.replace(/^http/, 'ws')}')`;

const samples = [];
roost.subscribe('demo:stats', ({ data }) => {
  $('connections').textContent = number.format(data.connections);
  $('delivered').textContent = number.format(data.delivered);
  $('clock').textContent = clockText(data.timestamp);
  $('tick').textContent = data.number;

  samples.push(data.connections);
  if (samples.length > 60) samples.shift();
  const highest = 1.25 * Math.max(1, ...samples);
  const points = samples.map((value, i) => {
    const x = samples.length === 1 ? 0 : (i / (samples.length - 1)) * 120;
    return `${x.toFixed(1)},${(26 - (value / highest) * 24).toFixed(1)}`;
  });
  document.querySelector('#spark polyline').setAttribute('points', points.join(' '));
});

const { version, admin } = await (await fetch('about.json')).json();
$('version').textContent = version;
const at = reachable(admin ?? '');
if (at) {
  $('dashboard').href = `http://${at}/dashboard/`;
  $('dashboard-at').textContent = `On the admin port, ${at}: rates, latency, channels.`;
} else if (admin) {
  $('dashboard-at').textContent = `At http://${admin}/dashboard/ in a browser on the server's machine: rates, latency, channels.`;
} else {
  $('dashboard-at').textContent = 'Rates, latency, channels: start roost serve with --admin-addr 8081.';
}
