import { detect, modelInfo } from './detect.js';

const byId = (id) => document.getElementById(id);
const canvas = byId('canvas');
const pen = canvas.getContext('2d');

// Everything that is shown follows from this.
const state = {
  info: { classes: [] },
  bitmap: null,
  name: '',
  answer: null, // of detect()
  zoom: 1, // canvas pixels per image pixel
  score: 0.3,
  layer: null, // 1 ... L, or null: the final objects
  hiddenClasses: new Set(),
  chosen: null, // index of an object
};

const className = (label) => state.info.classes[label] ?? `class ${label}`;
// As the pictures of `setdet predict`: neighbours differ by the golden angle.
const colour = (label) => `hsl(${(label * 137.508) % 360} 75% 42%)`;

async function start() {
  state.info = await modelInfo();
  const count = state.info.classes.length;
  byId('model').textContent = `${state.info.config}, ${count} ${count === 1 ? 'class' : 'classes'}`;
}

async function load(file) {
  if (!file) return;
  say('Reading the image ...');
  try {
    state.bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' });
  } catch {
    return complain('This is no image that can be read.');
  }
  say('Looking for objects ...');
  try {
    state.answer = await detect(file);
  } catch (error) {
    return complain(error.message);
  }
  Object.assign(state, { name: file.name.replace(/\.[^.]*$/, ''), chosen: null, layer: null });
  state.hiddenClasses.clear();
  say('');
  byId('drop').hidden = true;
  byId('picture').hidden = false;
  byId('panel').hidden = false;
  document.querySelector('main').classList.add('ready');
  // Small images are drawn larger, so that lines and text are fine.
  const { width, height } = state.answer;
  state.zoom = Math.max(1, Math.round(1000 / Math.max(width, height)));
  canvas.width = width * state.zoom;
  canvas.height = height * state.zoom;
  showLayers();
  showClasses();
  render();
}

function say(text, isError = false) {
  byId('status').textContent = text;
  byId('status').classList.toggle('error', isError);
}

function complain(text) {
  say(text, true);
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

function showLayers() {
  const { layers, objects: found } = state.answer;
  byId('layer-row').hidden = !layers;
  byId('query-head').hidden = !found.some((one) => one.query !== undefined);
  if (layers) {
    byId('layer').max = layers.length + 1;
    byId('layer').value = layers.length + 1;
  }
}

function showClasses() {
  const labels = [...new Set(state.answer.objects.map((one) => one.label))].sort((a, b) => a - b);
  byId('classes').replaceChildren(...labels.map((label) => {
    const chip = document.createElement('label');
    chip.className = 'chip';
    chip.style.setProperty('--colour', colour(label));
    const box = document.createElement('input');
    box.type = 'checkbox';
    box.checked = true;
    box.addEventListener('change', () => {
      state.hiddenClasses[box.checked ? 'delete' : 'add'](label);
      render();
    });
    chip.append(box, className(label));
    return chip;
  }));
}

function render() {
  const shown = shownObjects();
  byId('score-value').textContent = state.score.toFixed(2);
  byId('layer-value').textContent = state.layer === null ? 'result' : state.layer;
  draw(shown);
  byId('objects').replaceChildren(...shown.map(row));
}

function row(one) {
  const line = document.createElement('tr');
  const name = document.createElement('td');
  const dot = document.createElement('span');
  dot.className = 'dot';
  dot.style.setProperty('--colour', colour(one.label));
  name.append(dot, className(one.label));
  line.append(name, cell(one.score.toFixed(2)));
  if (one.query !== undefined) line.append(cell(one.query));
  line.classList.toggle('chosen', isChosen(one));
  line.addEventListener('click', () => choose(one));
  return line;
}

function cell(text) {
  const made = document.createElement('td');
  made.textContent = text;
  return made;
}

// A query stays chosen from layer to layer; without queries a box is known by its corners.
const keyOf = (one) => one.query ?? one.box.join();
const isChosen = (one) => state.chosen !== null && keyOf(one) === state.chosen;

function choose(one) {
  state.chosen = one && !isChosen(one) ? keyOf(one) : null;
  render();
}

function draw(shown) {
  const { width: imageWidth, height: imageHeight } = state.answer;
  pen.setTransform(state.zoom, 0, 0, state.zoom, 0, 0);
  pen.drawImage(state.bitmap, 0, 0, imageWidth, imageHeight);
  const side = Math.max(canvas.width, canvas.height);
  const line = Math.max(2, side / 400) / state.zoom;
  const size = Math.max(11, side / 55) / state.zoom;
  pen.font = `${size}px system-ui, sans-serif`;
  pen.textBaseline = 'top';
  for (const one of [...shown].reverse()) {
    const [x1, y1, x2, y2] = one.box;
    pen.globalAlpha = state.chosen === null || isChosen(one) ? 1 : 0.25;
    pen.strokeStyle = pen.fillStyle = colour(one.label);
    pen.lineWidth = isChosen(one) ? 2 * line : line;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const text = `${className(one.label)} ${one.score.toFixed(2)}`;
    const width = pen.measureText(text).width + size / 2;
    const left = Math.max(0, Math.min(x1, imageWidth - width));
    const top = y1 >= 1.3 * size ? y1 - 1.3 * size : y1;
    pen.fillRect(left, top, width, 1.3 * size);
    pen.fillStyle = 'white';
    pen.fillText(text, left + size / 4, top + size / 7);
  }
  pen.globalAlpha = 1;
  if (state.chosen !== null && state.answer.layers) drawPath(line);
}

// How the chosen query came to its box: the boxes of all layers, faint to strong.
function drawPath(line) {
  const query = Number(state.chosen);
  pen.setLineDash([3 * line, 2 * line]);
  pen.lineWidth = line;
  state.answer.layers.forEach(({ boxes, labels }, index, layers) => {
    const [x1, y1, x2, y2] = boxes[query];
    pen.globalAlpha = (index + 1) / layers.length;
    pen.strokeStyle = colour(labels[query]);
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  });
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function clickedObject(event) {
  const frame = canvas.getBoundingClientRect();
  // The canvas may be letterboxed inside its frame.
  const scale = Math.max(canvas.width / frame.width, canvas.height / frame.height);
  const pixels = scale / state.zoom;
  const x = (event.clientX - frame.left - (frame.width - canvas.width / scale) / 2) * pixels;
  const y = (event.clientY - frame.top - (frame.height - canvas.height / scale) / 2) * pixels;
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

function table() {
  const lines = shownObjects().map(({ box, score, label, query }) =>
    [JSON.stringify(className(label)), score, ...box, query ?? ''].join());
  return ['class,score,x1,y1,x2,y2,query', ...lines].join('\n');
}

byId('file').addEventListener('change', (event) => load(event.target.files[0]));
byId('score').addEventListener('input', (event) => {
  state.score = Number(event.target.value);
  render();
});
byId('layer').addEventListener('input', (event) => {
  const layer = Number(event.target.value);
  state.layer = layer > state.answer.layers.length ? null : layer;
  render();
});
canvas.addEventListener('click', (event) => choose(clickedObject(event)));
byId('save-picture').addEventListener('click', () => {
  canvas.toBlob((blob) => save(blob, `${state.name}_objects.png`));
});
byId('save-table').addEventListener('click', () => {
  save(new Blob([table()], { type: 'text/csv' }), `${state.name}_objects.csv`);
});
byId('again').addEventListener('click', () => byId('file').click());
for (const kind of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    byId('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') load(event.dataTransfer.files[0]);
  });
}
document.addEventListener('paste', (event) => load(event.clipboardData.files[0]));
start().catch(() => complain('The server does not answer.'));
