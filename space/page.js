/* What the page does in the browser besides Gradio's own: the heatmap's strength, tables that sort,
   telling where an answer is, and refusing files that Gradio would not send. Nothing here sends
   anything but the name and size of a file that was refused. */

const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

// An answer has arrived in a tab: bring it into view, and tell screen readers its headline.
window.answerArrived = tab => {
  const headline = document.querySelector(`#${tab}-answer .headline`);
  if (!headline) return;
  document.getElementById('said').textContent = headline.textContent;
  const lost = !document.activeElement || document.activeElement === document.body;
  if (lost) headline.focus({ preventScroll: true });
  headline.scrollIntoView({ block: 'nearest', behavior: still() ? 'auto' : 'smooth' });
  const address = new URLSearchParams(location.search).get('example');
  if (address) addLink(document.querySelector(`#${tab}-answer .download`), address);
};

// Drop areas are called by the words that they show.
new MutationObserver(() => {
  for (const area of document.querySelectorAll('button.upload-container')) {
    const shown = area.textContent.trim().replace(/\s+/g, ' ');
    if (shown) area.ariaLabel = shown;
  }
}).observe(document, { childList: true, subtree: true });

// A clip that the browser cannot play is judged nevertheless: no reason for Gradio to complain.
addEventListener('error', event => {
  if (event.target instanceof HTMLVideoElement) event.stopImmediatePropagation();
}, true);

// The answer to an example has an address that can be passed on.
const addLink = (beside, example) => {
  const link = document.createElement('a');
  link.className = 'download';
  link.target = '_blank';
  link.href = `${location.pathname}?example=${encodeURIComponent(example)}`;
  link.textContent = 'Link to this answer';
  beside?.after(link);
};

// The first screen of a tab is there again: the keyboard goes on where the next file is chosen.
window.startedAgain = tab => {
  document.getElementById('said').textContent = '';
  document.querySelector(`#${tab}-input button`)?.focus();
};

document.addEventListener('input', event => {
  if (!event.target.classList.contains('heat-strength')) return;
  event.target.closest('.answer').style.setProperty('--heat', event.target.value);
});

// A table is written anew for each photo that is judged: what a visitor chose is done to it again.
const untouched = { column: null, falling: true, shown: 'all', focused: null, watch: null };
const table = { ...untouched };

const keepChoices = answer => {
  table.watch ??= new MutationObserver(() => applyChoices(answer));
  table.watch.observe(answer, { childList: true, subtree: true });
  applyChoices(answer);
};

const applyChoices = answer => {
  const lost = document.activeElement === document.body ? table.focused : null;
  const filter = answer.querySelector(`.filters [value="${table.shown}"]`);
  if (filter) filter.checked = true;
  const head = answer.querySelector('table.rows thead tr')?.children[table.column];
  if (head) sortBy(head);
  if (lost) answer.querySelector(lost)?.focus({ preventScroll: true });
  table.watch.takeRecords(); // of the changes made here
};

const sortBy = head => {
  for (const other of head.parentElement.children) other.removeAttribute('aria-sort');
  head.ariaSort = table.falling ? 'descending' : 'ascending';
  const text = row => row.children[head.cellIndex].textContent.trim();
  const compare = (a, b) => text(a).localeCompare(text(b), 'en', { numeric: true });
  const body = head.closest('table').tBodies[0];
  body.append(...[...body.rows].sort((a, b) => (table.falling ? compare(b, a) : compare(a, b))));
};

// A column's name sorts by it, and turns the order round when it is pressed again.
document.addEventListener('click', event => {
  const head = event.target.closest('[data-sort]')?.closest('th');
  if (!head) return;
  table.falling = head.ariaSort !== 'descending';
  table.column = head.cellIndex;
  table.focused = `th:nth-child(${head.cellIndex + 1}) [data-sort]`;
  keepChoices(head.closest('#photos-answer'));
});
document.addEventListener('change', event => {
  if (!event.target.matches('.filters input')) return;
  table.shown = event.target.value;
  table.focused = `.filters [value="${table.shown}"]`;
  keepChoices(event.target.closest('#photos-answer'));
});
document.addEventListener('click', event => {
  if (!event.target.closest('.again')) return;
  table.watch?.disconnect();
  Object.assign(table, untouched);
});

// What Gradio would refuse in a corner, or without a word, is refused in the place of the answer.
// Capturing listeners hear of a file before Gradio does. Some systems have no type for HEIC.
const KINDS = { photo: /^(image\/|$)/, video: /^video\//, photos: /^(image\/|$)/ };

const refuses = (event, files) => {
  const tab = event.target.closest?.('[id$="-input"]')?.id.replace('-input', '');
  const kind = KINDS[tab];
  const file = kind && [...files].find(one => one.size > MAX_BYTES || !kind.test(one.type));
  if (!file) return false;
  event.preventDefault();
  event.stopImmediatePropagation();
  window.refusedFile = [file.name, file.size];
  document.getElementById(`${tab}-refused`).click();
  return true;
};

addEventListener('change', event => {
  if (event.target.type !== 'file') return;
  if (refuses(event, event.target.files)) event.target.value = ''; // it may be chosen again
}, true);
addEventListener('drop', event => {
  if (!refuses(event, event.dataTransfer?.files ?? [])) return;
  event.target.dispatchEvent(new DragEvent('dragleave', { bubbles: true }));
}, true);

// ?example=NAME shows the answer to an example again.
document.addEventListener('click', event => {
  const example = event.target.closest('[id^="example-"]');
  if (example) history.replaceState(null, '', `?example=${example.id.slice('example-'.length)}`);
  if (event.target.closest('.again')) history.replaceState(null, '', location.pathname);
});
addEventListener('change', event => {
  if (event.target.type === 'file') history.replaceState(null, '', location.pathname);
}, true);

const wanted = new URLSearchParams(location.search).get('example');
if (wanted && /^[\w-]+$/.test(wanted)) {
  const timer = setInterval(() => {
    const example = document.getElementById(`example-${wanted}`);
    if (!example) return;
    clearInterval(timer);
    example.click();
  }, 200);
  setTimeout(() => clearInterval(timer), 20000);
}
