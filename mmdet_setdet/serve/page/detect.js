// Where the boxes come from: the server that sent this page. A page without a server has a module of the same function
// that runs the model in the browser (../local).

// An image file -> {width, height, objects: [{box, score, label, query, attention}], layers: [{boxes, scores, labels}],
// cells: {width, height}}, boxes in pixels. `attention` has a byte for each cell; queries, layers and attention are there
// where the model has them.
export async function detect(file) {
  let response;
  try {
    response = await fetch('detect', { method: 'POST', body: file });
  } catch {
    throw new Error('The server does not answer.');
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  for (const one of answer.objects) {
    if (one.attention) one.attention = Uint8Array.from(atob(one.attention), (byte) => byte.charCodeAt(0));
  }
  return answer;
}
