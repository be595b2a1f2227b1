// Where the boxes come from: the model in this browser. It runs beside the page, which stays usable meanwhile.

const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
let last = Promise.resolve();

// As detect() of the page with a server; one image after the other.
export function detect(file, info) {
  const asked = last.then(() => ask(file, info));
  last = asked.catch(() => {});
  return asked;
}

function ask(file, info) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data: { answer, error } }) => (error ? reject(new Error(error)) : resolve(answer));
    worker.onerror = () => reject(new Error('This browser cannot run the model.'));
    worker.postMessage({ file, info });
  });
}
