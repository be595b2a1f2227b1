import { detect } from './detect.js';
import { draw } from './picture.js';

const byId = (id) => document.getElementById(id);
const canvas = byId('canvas');

// What was found, and what of it is shown; the page follows from it.
const state = {
  bitmap: null,
  name: '',
  answer: null, // of detect()
  score: 0.3,
  layer: null, // 1 ... L, or null: the final objects
  hiddenClasses: new Set(),
  chosen: null, // key of an object
  hasAttention: true,
};
let info = { classes: [] };
let turn = 0; // of the latest image; answers to earlier ones are dropped

const className = (label) => info.classes[label] ?? `class ${label}`;
// As the pictures of `setdet predict`: neighbours differ by the golden angle.
const colour = (label) => `hsl(${(label * 137.508) % 360} 75% 42%)`;

async function start() {
  const response = await fetch('info.json');
  info = await response.json();
  const count = info.classes.length;
  byId('model').textContent = `${info.config}, ${count} ${count === 1 ? 'class' : 'classes'}`;
  byId('score').min = info.least_score;
}

async function load(file) {
  if (!file) return;
  turn += 1;
  const mine = turn;
  say('Looking for objects ...');
  try {
    const bitmap = await open(file);
    const answer = await detect(file, info);
    if (mine === turn) show(file.name, bitmap, answer);
  } catch (error) {
    if (mine === turn) say(error.message, true);
  }
}

async function open(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: 'from-image' });
  } catch {
    throw new Error('This is no image that can be read.');
  }
}

function show(fileName, bitmap, answer) {
  const name = fileName.replace(/\.[^.]*$/, '');
  Object.assign(state, { bitmap, answer, name, chosen: null, layer: null });
  state.hiddenClasses.clear();
  say('');
  byId('drop').hidden = true;
  byId('picture').hidden = false;
  byId('panel').hidden = false;
  document.querySelector('main').classList.add('ready');
  showLayers();
  showClasses();
  fit();
}

function say(text, isError = false) {
  byId('status').textContent = text;
  byId('status').classList.toggle('error', isError);
}

function showLayers() {
  const { layers, cells, objects: found } = state.answer;
  byId('layer-row').hidden = !layers;
  byId('attention-row').hidden = !cells;
  byId('hint').hidden = !layers;
  byId('query-head').hidden = !found.some(hasQuery);
  if (layers) {
    byId('layer').max = layers.length + 1;
    byId('layer').value = layers.length + 1;
  }
}

// The classes of the best objects come first.
function showClasses() {
  const labels = [...new Set(state.answer.objects.map((one) => one.label))];
  byId('classes').replaceChildren(...labels.map(chip));
}

function chip(label) {
  const made = document.createElement('label');
  made.className = 'chip';
  made.style.setProperty('--colour', colour(label));
  const box = document.createElement('input');
  box.type = 'checkbox';
  box.checked = true;
  box.addEventListener('change', () => {
    state.hiddenClasses[box.checked ? 'delete' : 'add'](label);
    render();
  });
  made.append(box, className(label));
  return made;
}

// All objects of the final result, or what every query says after a decoder layer.
function objects() {
  if (state.layer === null) return state.answer.objects;
  const { boxes, scores, labels } = state.answer.layers[state.layer - 1];
  return boxes.map((box, query) => ({ box, score: scores[query], label: labels[query], query }));
}

function shownObjects() {
  return objects()
    .filter((one) => one.score >= state.score && !state.hiddenClasses.has(one.label))
    .sort((one, other) => other.score - one.score);
}

function render() {
  const shown = shownObjects();
  const count = state.answer.layers?.length;
  byId('score-value').textContent = state.score.toFixed(2);
  byId('layer-value').textContent = state.layer === null ? 'result' : `${state.layer} of ${count}`;
  byId('objects').replaceChildren(...shown.map(row));
  byId('none').hidden = shown.length > 0;
  draw(canvas, scene(shown), 13 * devicePixelRatio);
}

function row(one) {
  const line = document.createElement('tr');
  const dot = document.createElement('span');
  dot.className = 'dot';
  dot.style.setProperty('--colour', colour(one.label));
  const name = document.createElement('td');
  name.append(dot, className(one.label));
  line.append(name, cell(one.score.toFixed(2)));
  if (hasQuery(one)) line.append(cell(one.query));
  line.classList.toggle('chosen', isChosen(one));
  line.tabIndex = 0;
  line.addEventListener('click', () => choose(one));
  line.addEventListener('keydown', ({ key }) => {
    if (key === 'Enter') choose(one);
  });
  return line;
}

function cell(text) {
  const made = document.createElement('td');
  made.textContent = text;
  return made;
}

// A query stays chosen from layer to layer; without queries a box is known by its corners.
const hasQuery = (one) => one.query !== undefined;
const keyOf = (one) => one.query ?? one.box.join();
const isChosen = (one) => state.chosen !== null && keyOf(one) === state.chosen;

function choose(one) {
  state.chosen = one && !isChosen(one) ? keyOf(one) : null;
  render();
  byId('objects').querySelector('.chosen')?.focus({ preventScroll: true });
}

// What draw() takes.
function scene(shown) {
  const { width, height, layers, cells, objects: found } = state.answer;
  const attention = state.hasAttention && found.find(isChosen)?.attention;
  const path = state.chosen === null || !layers ? [] : layers.map(({ boxes, labels }) =>
    ({ box: boxes[state.chosen], colour: colour(labels[state.chosen]) }));
  const boxes = shown.map((one) => ({
    box: one.box,
    colour: colour(one.label),
    text: `${className(one.label)} ${one.score.toFixed(2)}`,
    isStrong: isChosen(one),
    isFaint: state.chosen !== null && !isChosen(one),
  }));
  const heat = attention ? { ...cells, values: attention } : null;
  return { bitmap: state.bitmap, width, height, boxes, path, heat };
}

// The canvas has the pixels of the screen, so that lines and text are as fine there as elsewhere.
function fit() {
  if (!state.answer) return;
  const { width, height } = state.answer;
  const most = [byId('stage').clientWidth / width, (0.8 * innerHeight) / height];
  const zoom = Math.min(...most);
  canvas.style.width = `${width * zoom}px`;
  canvas.width = Math.round(width * zoom * devicePixelRatio);
  canvas.height = Math.round(height * zoom * devicePixelRatio);
  render();
}

function clickedObject({ offsetX, offsetY }) {
  const pixels = state.answer.width / canvas.clientWidth;
  const x = offsetX * pixels;
  const y = offsetY * pixels;
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  return shownObjects()
    .filter(({ box: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2)
    .sort((one, other) => area(one.box) - area(other.box))[0];
}

function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// In the size of the image; small ones are drawn larger, so that the text is fine.
async function savePicture() {
  const { width, height } = state.answer;
  const longest = Math.max(width, height);
  const zoom = Math.max(1, Math.round(1000 / longest));
  const whole = new OffscreenCanvas(width * zoom, height * zoom);
  draw(whole, scene(shownObjects()), Math.max(13, (longest * zoom) / 60));
  save(await whole.convertToBlob(), `${state.name}_objects.png`);
}

function saveTable() {
  const lines = shownObjects().map(({ box, score, label, query }) => {
    const name = `"${className(label).replaceAll('"', '""')}"`;
    const corners = box.map((corner) => corner.toFixed(1));
    return [name, score.toFixed(4), ...corners, query ?? ''].join();
  });
  const text = ['class,score,x1,y1,x2,y2,query', ...lines].join('\n');
  save(new Blob([text], { type: 'text/csv' }), `${state.name}_objects.csv`);
}

byId('file').addEventListener('change', ({ target }) => {
  load(target.files[0]);
  target.value = ''; // the same file may be chosen again
});
byId('score').addEventListener('input', ({ target }) => {
  state.score = Number(target.value);
  render();
});
byId('layer').addEventListener('input', ({ target }) => {
  const layer = Number(target.value);
  state.layer = layer > state.answer.layers.length ? null : layer;
  render();
});
byId('attention').addEventListener('change', ({ target }) => {
  state.hasAttention = target.checked;
  render();
});
canvas.addEventListener('click', (event) => choose(clickedObject(event)));
byId('save-picture').addEventListener('click', savePicture);
byId('save-table').addEventListener('click', saveTable);
byId('again').addEventListener('click', () => byId('file').click());
for (const kind of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') load(event.dataTransfer.files[0]);
  });
}
document.addEventListener('paste', (event) => load(event.clipboardData.files[0]));
window.addEventListener('resize', fit);
start().catch(() => say('The server does not answer.', true));
