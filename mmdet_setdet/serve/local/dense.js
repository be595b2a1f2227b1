// What is left of predictions, without duplicates by non-maximum suppression (NMS): runtime/dense.py.

// The model's outputs, of one image of a padded size and its own -> {boxes, scores, labels} of its detections; each has
// its numbers under `data`.
export function select(outputs, [width, height], [imageWidth, imageHeight], { nms, classes }) {
  const boxes = outputs.boxes.data;
  const factors = outputs.factors?.data;
  const kept = [];
  let first = 0;
  for (const stride of nms.strides) {
    const cells = Math.ceil(width / stride) * Math.ceil(height / stride);
    const end = first + cells * nms.priors_per_cell;
    kept.push(...bestOfLevel(outputs.scores.data, first, end, classes.length, nms));
    first = end;
  }
  const found = kept.map(({ place, label, score }) => ({
    box: boxes.subarray(4 * place, 4 * place + 4),
    label,
    score: factors ? Math.fround(score * factors[place]) : score,
  }));
  found.sort((one, other) => other.score - one.score);
  const limits = [imageWidth, imageHeight, imageWidth, imageHeight];
  const best = suppress(found, nms.iou_threshold)
    .slice(0, nms.max_per_img)
    .map((one) => ({ ...one, box: one.box.map((side, index) => Math.min(Math.max(side, 0), limits[index])) }))
    .filter(({ box }) => !nms.drops_empty || (box[2] > box[0] && box[3] > box[1]));
  return {
    boxes: { data: best.flatMap(({ box }) => [...box]) },
    scores: { data: best.map(({ score }) => score) },
    labels: { data: best.map(({ label }) => label) },
  };
}

// The results of set prediction, best first, without those that overlap a better one of their class by more.
export function withoutDuplicates(outputs, maxOverlap) {
  const { scores, labels } = outputs;
  const boxes = outputs.boxes.data;
  const found = Array.from(scores.data, (_, index) => ({
    box: boxes.subarray(4 * index, 4 * index + 4),
    label: labels.data[index],
    index,
  }));
  const kept = suppress(found, maxOverlap).map(({ index }) => index);
  const rest = Object.entries(outputs).filter(([name]) => !name.startsWith('layer_'));
  const fewer = rest.map(([name, { dims, data }]) => {
    const size = data.length / found.length;
    const parts = kept.map((index) => [...data.subarray(size * index, size * index + size)]);
    return [name, { dims, data: data.constructor.from(parts.flat()) }];
  });
  return { ...outputs, ...Object.fromEntries(fewer) };
}

function bestOfLevel(scores, first, end, classCount, nms) {
  const least = Math.fround(nms.score_thr);
  const found = [];
  for (let index = first * classCount; index < end * classCount; index += 1) {
    if (scores[index] > least) {
      const place = Math.floor(index / classCount);
      found.push({ place, label: index % classCount, score: scores[index] });
    }
  }
  const limit = nms.one_per_cell ? Math.min(nms.nms_pre, end - first) : nms.nms_pre;
  if (limit <= 0 || found.length <= limit) return found;
  return found.sort((one, other) => other.score - one.score).slice(0, limit);
}

// Those, best first, that overlap with no better one of their class that is kept by more than the threshold.
function suppress(found, threshold) {
  const kept = [];
  for (const one of found) {
    const isCovered = kept.some((other) =>
      other.label === one.label && overlapsBy(other.box, one.box, threshold));
    if (!isCovered) kept.push(one);
  }
  return kept;
}

function overlapsBy(one, other, threshold) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const common = Math.max(width, 0) * Math.max(height, 0);
  return common > threshold * (area(one) + area(other) - common);
}

const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
