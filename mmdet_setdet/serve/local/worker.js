// The model in the browser: an image file -> boxes, as runtime/detector.py finds them.

import { select, withoutDuplicates } from './dense.js';
import { decode, prepare } from './images.js';
import * as ort from './ort.js';

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
ort.env.wasm.wasmPaths = { wasm: new URL('ort.wasm', import.meta.url).href };
const model = new URL('model.onnx', import.meta.url).href;
const loading = ort.InferenceSession.create(model, { logSeverityLevel: 3 });
loading.catch(() => {}); // an image will tell

self.onmessage = async ({ data: { file, info } }) => {
  try {
    self.postMessage({ answer: await detect(file, info) });
  } catch (error) {
    self.postMessage({ error: `The model failed on this image: ${error.message}` });
  }
};

async function detect(file, info) {
  const image = await decode(file);
  const { tensor, size, padded } = prepare(image, info);
  const outputs = await run(tensor, size, padded);
  const results = resultsOf(outputs, padded, size, info);
  const inPixels = toPixels(image, size);
  const answer = { width: image.width, height: image.height };
  answer.objects = Array.from(results.scores.data, (score, index) => ({
    box: inPixels(results.boxes.data, index),
    score,
    label: results.labels.data[index],
    query: results.queries?.data[index],
  }));
  if (outputs.layer_boxes) answer.layers = layersOf(outputs, inPixels);
  if (results.attention) addAttention(answer, results.attention, size, padded);
  answer.objects = answer.objects.filter(({ score }) => score >= info.least_score);
  return answer;
}

function resultsOf(outputs, padded, size, info) {
  if (info.nms) return select(outputs, padded, size, info);
  return info.max_overlap === null ? outputs : withoutDuplicates(outputs, info.max_overlap);
}

// Outputs by name, each with its `dims` and its `data` as a flat array of numbers.
async function run(tensor, [width, height], padded) {
  const session = await loading;
  const sizes = BigInt64Array.of(BigInt(height), BigInt(width));
  const inputs = {
    images: new ort.Tensor('float32', tensor, [1, 3, padded[1], padded[0]]),
    sizes: new ort.Tensor('int64', sizes, [1, 2]),
  };
  const asked = session.inputNames.map((name) => [name, inputs[name]]);
  const outputs = await session.run(Object.fromEntries(asked));
  return Object.fromEntries(Object.entries(outputs).map(([name, { dims, data }]) =>
    [name, { dims, data: data instanceof BigInt64Array ? Int32Array.from(data, Number) : data }]));
}

// The function that takes the box of a number from the resized image to the image, clipped to it.
function toPixels({ width, height }, size) {
  const limits = [width, height, width, height];
  return (boxes, index) => limits.map((limit, side) => {
    const scaled = boxes[4 * index + side] * (limit / size[side % 2]);
    return Math.min(Math.max(scaled, 0), limit);
  });
}

function layersOf({ layer_boxes: boxes, layer_scores: scores, layer_labels: labels }, inPixels) {
  const [, layerCount, queryCount] = scores.dims;
  return Array.from({ length: layerCount }, (_, layer) => {
    const first = layer * queryCount;
    const queries = Array.from({ length: queryCount }, (_unused, query) => first + query);
    return {
      boxes: queries.map((index) => inPixels(boxes.data, index)),
      scores: queries.map((index) => scores.data[index]),
      labels: queries.map((index) => labels.data[index]),
    };
  });
}

// The cells that begin within the image, as bytes; the most of each object is 255.
function addAttention(answer, { dims, data }, size, padded) {
  const [, , rows, columns] = dims;
  const width = Math.ceil((columns * size[0]) / padded[0]);
  const height = Math.ceil((rows * size[1]) / padded[1]);
  answer.cells = { width, height };
  answer.objects.forEach((one, index) => {
    const map = data.subarray(index * rows * columns, (index + 1) * rows * columns);
    const seen = new Float32Array(width * height);
    for (let row = 0; row < height; row += 1) {
      seen.set(map.subarray(row * columns, row * columns + width), row * width);
    }
    const most = seen.reduce((a, b) => Math.max(a, b));
    one.attention = Uint8Array.from(seen, (value) => Math.round((255 * value) / most));
  });
}
