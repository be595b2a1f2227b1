// A picture with what was found in it, on a canvas.

// Draws a scene {bitmap, width, height, boxes, path, heat}, in pixels of the image, so that it fills the canvas.
//   boxes: [{box, colour, text, isStrong, isFaint}], the first in front; path: [{box, colour}], the last in front;
//   heat: {width, height, values: a byte for each cell} or null. Lines and text fit to text of `textSize` canvas pixels.
export function draw(canvas, scene, textSize) {
  const pen = canvas.getContext('2d');
  const zoom = canvas.width / scene.width;
  const size = textSize / zoom;
  pen.setTransform(zoom, 0, 0, canvas.height / scene.height, 0, 0);
  pen.globalAlpha = 1;
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(scene.bitmap, 0, 0, scene.width, scene.height);
  if (scene.heat) drawHeat(pen, scene);
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = 'middle';
  for (const one of [...scene.boxes].reverse()) drawBox(pen, one, size, scene.width);
  drawPath(pen, scene.path, size);
}

function drawBox(pen, { box: [x1, y1, x2, y2], colour, text, isStrong, isFaint }, size, limit) {
  pen.globalAlpha = isFaint ? 0.25 : 1;
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = size / (isStrong ? 4 : 7);
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  const width = pen.measureText(text).width + 0.6 * size;
  const height = 1.4 * size;
  const left = Math.max(0, Math.min(x1, limit - width));
  const top = y1 >= height ? y1 - height : y1;
  pen.fillRect(left, top, width, height);
  pen.fillStyle = 'white';
  pen.fillText(text, left + 0.3 * size, top + height / 2);
}

// How a query came to its box: the boxes of all layers, faint to strong.
function drawPath(pen, path, size) {
  pen.setLineDash([size / 2, size / 3]);
  pen.lineWidth = size / 8;
  path.forEach(({ box: [x1, y1, x2, y2], colour }, index) => {
    pen.globalAlpha = (index + 1) / path.length;
    pen.strokeStyle = colour;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  });
  pen.setLineDash([]);
}

// Where a query looks is bright on the darkened picture.
function drawHeat(pen, { width, height, heat }) {
  pen.fillStyle = 'rgb(0 0 0 / 45%)';
  pen.fillRect(0, 0, width, height);
  const glow = new ImageData(heat.width, heat.height);
  heat.values.forEach((value, index) => {
    glow.data.set([255, 80 + 0.6 * value, 0.3 * value, value], 4 * index);
  });
  const cells = new OffscreenCanvas(heat.width, heat.height);
  cells.getContext('2d').putImageData(glow, 0, 0);
  pen.drawImage(cells, 0, 0, width, height);
}
