// The size that an image gets before a model sees it, and the resizing itself: runtime/resizing.py, to the pixel.

// As Python rounds: halves to even numbers.
function round(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low + (low % 2);
}

// Width and height of the model's input for an image. The order of the operations is that of Python's code.
export function inputSize({ width, height }, { resize: rule, scale, fixed }) {
  const size = rule === 'detr'
    ? shorterSideSize(width, height, scale)
    : fittingSize(width, height, scale);
  const limits = [fixed.width ?? size[0], fixed.height ?? size[1]];
  const factor = Math.min(limits[0] / size[0], limits[1] / size[1]);
  const fits = factor < 1 ? size.map((side) => Math.trunc(side * factor)) : size;
  return fits.map((side) => Math.max(side, 1));
}

function shorterSideSize(width, height, scale) {
  const longest = Math.max(...scale);
  const short = Math.min(width, height);
  const long = Math.max(width, height);
  let side = Math.min(...scale);
  if ((long / short) * side > longest) side = round((longest * short) / long);
  if (side === short) return [width, height];
  return width < height
    ? [side, Math.trunc((side * height) / width)]
    : [Math.trunc((side * width) / height), side];
}

function fittingSize(width, height, scale) {
  const byLonger = Math.max(...scale) / Math.max(width, height);
  const byShorter = Math.min(...scale) / Math.min(width, height);
  const factor = Math.min(byLonger, byShorter);
  return [width, height].map((side) => Math.trunc(side * factor + 0.5));
}

// Pillow's filters: their reach in pixels, and the weight of a pixel at a distance.
const triangle = (x) => Math.max(1 - Math.abs(x), 0);
function cubic(x) {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

// Pillow's weights are multiples of this; it rounds halves up, after each direction.
const UNIT = 2 ** -22;

// For `count` new pixels of a line of `length` old ones: the first old pixel and the weights from there on. Where the
// image shrinks, the filter is as wide as a new pixel.
function averaging(reach, weight) {
  return (length, count) => Array.from({ length: count }, (_, index) => {
    const step = length / count;
    const wide = Math.max(step, 1);
    const centre = (index + 0.5) * step;
    const first = Math.max(Math.trunc(centre - reach * wide + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach * wide + 0.5), length);
    const raw = [];
    for (let x = first; x < end; x += 1) raw.push(weight((x + 0.5 - centre) / wide));
    const sum = raw.reduce((one, other) => one + other);
    return { first, weights: raw.map((value) => roundAway(value / sum / UNIT) * UNIT) };
  });
}

const roundAway = (x) => Math.trunc(x + 0.5 * Math.sign(x));

// OpenCV's: every new pixel lies between two old ones, also where the image shrinks.
function interpolating(length, count) {
  return Array.from({ length: count }, (_, index) => {
    const wanted = (index + 0.5) * (length / count) - 0.5;
    const centre = Math.fround(Math.min(Math.max(wanted, 0), length - 1));
    const first = Math.floor(centre);
    const share = centre - first;
    return { first, weights: share ? [1 - share, share] : [1] };
  });
}

// Uint8ClampedArray rounds halves to even, as numpy does; half a unit more makes Pillow's halves go up.
const FILTERS = {
  bilinear: { taps: averaging(1, triangle), Between: Uint8ClampedArray, extra: UNIT / 2 },
  bicubic: { taps: averaging(2, cubic), Between: Uint8ClampedArray, extra: UNIT / 2 },
  cv2: { taps: interpolating, Between: Float64Array, extra: 0 },
};

// {width, height, data: red, green, blue of each pixel} -> the same of another size.
export function resize(image, [width, height], filter) {
  if (width === image.width && height === image.height) return image;
  const { taps, Between, extra } = FILTERS[filter];
  const turned = resampleAndTurn(image, taps(image.width, width), Between, extra);
  return resampleAndTurn(turned, taps(image.height, height), Uint8ClampedArray, extra);
}

// Resamples every row and makes it a column; done twice, the image stands upright again.
function resampleAndTurn({ width, height, data }, taps, Values, extra) {
  const turned = new Values(taps.length * height * 3);
  let at = 0;
  for (const { first, weights } of taps) {
    for (let row = 0; row < height; row += 1) {
      let from = (row * width + first) * 3;
      let red = extra;
      let green = extra;
      let blue = extra;
      for (const weight of weights) {
        red += weight * data[from];
        green += weight * data[from + 1];
        blue += weight * data[from + 2];
        from += 3;
      }
      turned[at] = red;
      turned[at + 1] = green;
      turned[at + 2] = blue;
      at += 3;
    }
  }
  return { width: height, height: taps.length, data: turned };
}
