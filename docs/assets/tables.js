// Long tables get a filter above them, and sort by the column whose head is clicked.
const LONG = 20;

const key = (row, column) => {
  const text = row.cells[column].innerText.trim();
  const number = parseFloat(text);
  return Number.isNaN(number) ? [1, text] : [0, number];
};

function sort(table, column) {
  const body = table.tBodies[0];
  const order = table.dataset.order === `${column} up` ? -1 : 1;
  table.dataset.order = `${column} ${order > 0 ? 'up' : 'down'}`;
  const compare = (a, b) => {
    const [first, second] = [key(a, column), key(b, column)];
    if (first[0] !== second[0]) return first[0] - second[0];
    return order * (first[1] < second[1] ? -1 : first[1] > second[1]);
  };
  body.append(...[...body.rows].sort(compare));
}

function filter(table, words) {
  for (const row of table.tBodies[0].rows) {
    const text = row.innerText.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
}

function prepare(table) {
  const input = document.createElement('input');
  const chinese = document.documentElement.lang.startsWith('zh');
  input.placeholder = chinese ? '筛选，例如 dino 12' : 'Filter, say: dino 12';
  input.className = 'table-filter';
  input.oninput = () => filter(table, input.value.toLowerCase().split(/\s+/));
  table.before(input);
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    cell.onclick = () => sort(table, column);
    cell.style.cursor = 'pointer';
  });
}

// The theme's signal that a page is there.
document$.subscribe(() => {
  for (const table of document.querySelectorAll('article table:not([class])')) {
    if (table.tBodies[0].rows.length >= LONG) prepare(table);
  }
});
