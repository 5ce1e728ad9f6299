// The meadow: the server moves the birds and publishes all of it 15 times a second in the channel
// game:meadow; this page says where it steers, and draws. The calls are
//   game.join                                       → {"id","secret","width","height","radius","goal"}
//   game.steer {"secret","x","y",["rests","leaves"]}   x and y: a direction of length 1 at most
import { $, connect, element, name } from '../demo.js';

const roost = connect();
const canvas = $('meadow');
const COLOURS = ['#b83a16', '#24693f', '#1d5fa8', '#7a3ea1', '#8f5600', '#a3216a', '#1f6a75', '#5d5b1d'];
const colourOf = ({ id }) => COLOURS[id % COLOURS.length];

// ------------------------------------------------------------------- taking part

let me = null; // the reply to game.join
let joining = false;

async function join() {
  if (me || joining || document.hidden) return;
  joining = true;
  try {
    me = await roost.call('game.join');
    $('goal').textContent = me.goal;
    said = '';
    steer();
  } catch (error) {
    tell(error.message);
    setTimeout(join, 3000);
  }
  joining = false;
}

// ---------------------------------------------------------------------- steering

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], KeyA: [-1, 0], KeyD: [1, 0], KeyW: [0, -1], KeyS: [0, 1] };
const pressed = new Set();
let target = null; // where the pointer is held, in units of the meadow
let said = ''; // what the server knows

addEventListener('keydown', (event) => {
  if (!KEYS[event.code] || event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input')) return;
  event.preventDefault(); // the arrows would scroll the page
  pressed.add(event.code);
  steer();
});
addEventListener('keyup', (event) => {
  pressed.delete(event.code);
  steer();
});
addEventListener('blur', () => {
  pressed.clear();
  target = null;
  steer();
});

function point(event) {
  const box = canvas.getBoundingClientRect();
  target = { x: (event.clientX - box.left) / box.width * scene.width, y: (event.clientY - box.top) / box.height * scene.height };
  steer();
}
canvas.addEventListener('pointerdown', (event) => {
  canvas.setPointerCapture(event.pointerId);
  point(event);
});
canvas.addEventListener('pointermove', (event) => { if (canvas.hasPointerCapture(event.pointerId)) point(event); });
for (const end of ['pointerup', 'pointercancel']) {
  canvas.addEventListener(end, () => {
    target = null;
    steer();
  });
}

function direction() {
  let x = 0;
  let y = 0;
  for (const code of pressed) [x, y] = [x + KEYS[code][0], y + KEYS[code][1]];
  const own = target && scene.birds.get(me?.id);
  if (own && Math.hypot(target.x - own.x, target.y - own.y) > scene.radius / 2) [x, y] = [target.x - own.x, target.y - own.y];
  const length = Math.hypot(x, y) || 1;
  // Eighths of a turn are enough, and fewer messages.
  return [x / length, y / length].map((part) => Math.round(part * 8) / 8);
}

// steer tells the server, if it does not know yet; each few seconds it does so anyway.
async function steer(always = false) {
  if (!me || roost.state !== 'connected') return;
  const [x, y] = document.hidden ? [0, 0] : direction();
  const rests = document.hidden;
  const now = JSON.stringify([x, y, rests]);
  if (now === said && !always) return;
  said = now;
  try {
    await roost.call('game.steer', { secret: me.secret, x, y, rests });
  } catch (error) {
    said = '';
    if (error.code === 110) { // it was away for too long
      me = null;
      join();
    }
  }
}
setInterval(() => steer(true), 4000);
document.addEventListener('visibilitychange', () => {
  if (me) steer();
  else if (roost.state === 'connected') join();
});
addEventListener('pagehide', () => { if (me) roost.call('game.steer', { secret: me.secret, leaves: true }).catch(() => {}); });

// ----------------------------------------------------------------- what is shown

// Birds by ID: where they are drawn (x, y), and where the server has them (to).
const scene = { width: 1000, height: 625, radius: 18, birds: new Map(), seeds: [] };
let round = 0;

roost.subscribe('game:meadow', {
  subscribed: () => { if (!me) join(); },
  message: ({ data }) => {
    const ids = new Set();
    for (const bird of data.birds) {
      ids.add(bird.id);
      const drawn = scene.birds.get(bird.id) ?? { x: bird.x, y: bird.y, turned: 1 };
      if (bird.x !== drawn.to?.x) drawn.turned = bird.x < drawn.to?.x ? -1 : 1;
      scene.birds.set(bird.id, Object.assign(drawn, { to: bird }));
    }
    for (const id of scene.birds.keys()) if (!ids.has(id)) scene.birds.delete(id);
    scene.seeds = data.seeds;
    if (round && data.round > round && data.winner) tell(`${data.winner} has won round ${data.round - 1}`);
    round = data.round;
    $('round').textContent = round;
    showScores(data.birds);
    if (target) steer();
  },
});

function tell(text) { $('news').textContent = text; }

let scores = '';
function showScores(birds) {
  const rows = birds.toSorted((a, b) => b.score - a.score || a.id - b.id);
  const now = JSON.stringify(rows.map(({ id, score, rests }) => [id, score, rests]));
  if (now === scores) return;
  scores = now;
  $('scores').replaceChildren(...rows.map((bird) => {
    const item = element('li', { className: `${bird.id === me?.id ? 'me' : ''} ${bird.rests ? 'rests' : ''}` },
      element('span', { className: 'who' }, bird.name + (bird.rests ? ' (rests)' : '')), element('span', {}, String(bird.score)));
    item.style.setProperty('--colour', colourOf(bird));
    return item;
  }));
}

// --------------------------------------------------------------------- drawing

const pen = canvas.getContext('2d');
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const blades = Array.from({ length: 60 }, (_, i) => [(i * 397) % 1000, (i * 211 + (i % 7) * 31) % 625]);

function fit() {
  const scale = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
}
new ResizeObserver(fit).observe(canvas);

let before = performance.now();
function frame(now) {
  // Each frame goes part of the way to where the server has the birds.
  const part = 1 - Math.exp((before - now) / 60);
  before = now;
  for (const bird of scene.birds.values()) {
    bird.x += (bird.to.x - bird.x) * part;
    bird.y += (bird.to.y - bird.y) * part;
  }
  draw(now);
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

function circle(x, y, radius, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}

function draw(now) {
  const style = getComputedStyle(canvas);
  const colour = (variable) => style.getPropertyValue(variable);
  const scale = canvas.width / scene.width;
  // On a small screen the meadow is small, but what is on it can be seen.
  const zoom = Math.max(1, 550 / canvas.clientWidth);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = grass(style, '--grass');
  pen.fillRect(0, 0, scene.width, scene.height);
  pen.strokeStyle = grass(style, '--blade');
  pen.lineWidth = 2;
  pen.beginPath();
  for (const [x, y] of blades) {
    pen.moveTo(x, y);
    pen.lineTo(x + 3, y - 9);
    pen.moveTo(x + 6, y);
    pen.lineTo(x + 6, y - 7);
  }
  pen.stroke();
  for (const { x, y, golden } of scene.seeds) {
    const radius = (golden ? 9 : 6) * zoom;
    circle(x, y, radius, golden ? '#d99a00' : '#7a5a3a');
    circle(x - radius / 3, y - radius / 3, radius / 3, '#fff8');
  }
  for (const bird of scene.birds.values()) drawBird(bird, now, zoom, bird.to.id === me?.id);
  pen.font = `600 ${16 * zoom}px system-ui, sans-serif`;
  pen.textAlign = 'center';
  pen.fillStyle = colour('color');
  for (const { x, y, to } of scene.birds.values()) {
    const above = y > 45 * zoom;
    pen.fillText([...to.name].slice(0, 16).join(''), Math.min(Math.max(x, 70 * zoom), scene.width - 70 * zoom), above ? y - 26 * zoom : y + 38 * zoom);
  }
}

// A canvas does not know light-dark(): the element's computed colours do.
const probe = document.body.appendChild(element('span', { hidden: true }));
function grass(style, variable) {
  probe.style.color = style.getPropertyValue(variable);
  return getComputedStyle(probe).color;
}

function drawBird({ x, y, to, turned }, now, zoom, own) {
  const moving = Math.hypot(to.x - x, to.y - y) > 1;
  const hop = moving && !calm.matches ? Math.abs(Math.sin(now / 70)) * 3 : 0;
  pen.save();
  pen.globalAlpha = to.rests ? 0.45 : 1;
  pen.translate(x, y - hop);
  pen.scale(turned * zoom, zoom);
  if (own) circle(0, 0, scene.radius + 4, '#ffffffb0');
  circle(0, 0, scene.radius, colourOf(to));
  pen.fillStyle = '#0003'; // the wing
  pen.beginPath();
  pen.ellipse(-5, 3, 9, 6 - hop, 0.4, 0, 2 * Math.PI);
  pen.fill();
  pen.fillStyle = '#f2b45a'; // the beak
  pen.beginPath();
  pen.moveTo(scene.radius - 3, -5);
  pen.lineTo(scene.radius + 9, 0);
  pen.lineTo(scene.radius - 3, 4);
  pen.fill();
  circle(7, -5, 4.5, '#fff');
  circle(8, -5, 2.2, '#1d1b19');
  pen.restore();
}

$('second').href = `?as=${encodeURIComponent(name === 'Anna' ? 'Ben' : 'Anna')}`;
