// Where the boxes come from: the server that sent this page. The static page has a module of the same two functions
// that runs the model in the browser.

export async function modelInfo() {
  const response = await fetch('info');
  return response.json();
}

// An image file -> {width, height, objects: [{box, score, label, query}], layers}.
export async function detect(file) {
  let response;
  try {
    response = await fetch('detect', { method: 'POST', body: file });
  } catch {
    throw new Error('The server does not answer.');
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
