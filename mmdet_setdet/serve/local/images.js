// From an image file to the tensor that the model takes: runtime/images.py.

import { inputSize, resize } from './resizing.js';

// {width, height, data: red, green, blue of each pixel}, turned as the camera says.
export async function decode(file) {
  // As the file says: neither in the screen's colours nor multiplied by transparency.
  const bitmap = await createImageBitmap(file, {
    imageOrientation: 'from-image',
    colorSpaceConversion: 'none',
    premultiplyAlpha: 'none',
  });
  const { width, height } = bitmap;
  const pen = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  const pixels = pen.getImageData(0, 0, width, height).data;
  const data = new Uint8ClampedArray(width * height * 3);
  for (let from = 0, to = 0; from < pixels.length; from += 4, to += 3) {
    data[to] = pixels[from];
    data[to + 1] = pixels[from + 1];
    data[to + 2] = pixels[from + 2];
  }
  return { width, height, data };
}

// Resized, normalised and padded: {tensor: Float32Array of 3 x padded[1] x padded[0], size, padded}, sizes as
// [width, height].
export function prepare(image, info) {
  const size = inputSize(image, info);
  const { data } = resize(image, size, info.filter);
  const [width, height] = size;
  const divisor = info.size_divisor;
  const padded = [
    info.fixed.width ?? Math.ceil(width / divisor) * divisor,
    info.fixed.height ?? Math.ceil(height / divisor) * divisor,
  ];
  const area = padded[0] * padded[1];
  const tensor = new Float32Array(3 * area);
  for (let channel = 0; channel < 3; channel += 1) {
    const colour = info.rgb ? channel : 2 - channel;
    const normalised = valuesOf(info.mean[channel], info.std[channel]);
    for (let row = 0; row < height; row += 1) {
      const start = channel * area + row * padded[0];
      for (let column = 0; column < width; column += 1) {
        tensor[start + column] = normalised[data[(row * width + column) * 3 + colour]];
      }
    }
  }
  return { tensor, size, padded };
}

// What each of the 256 values of a channel becomes, in single precision as in Python.
function valuesOf(mean, std) {
  const [least, unit] = Float32Array.of(mean, std);
  return Float32Array.from({ length: 256 }, (_, value) => Math.fround(value - least) / unit);
}
