/* What the page does in the browser besides Gradio's own: the heatmap's strength, tables that sort,
   telling where an answer is, the browser's Back, and what would else go wrong without a word.
   Nothing here sends anything but the name and size of a file that was refused. */

const TABS = { // those that take files: their names, and the types of what they take
  photo: { name: 'Photo', kind: 'image' },
  video: { name: 'Video', kind: 'video' },
  photos: { name: 'Several photos', kind: 'image' },
};

const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

// An answer has arrived in a tab: bring it into view, and tell screen readers its headline.
window.answerArrived = tab => {
  const headline = document.querySelector(`#${tab}-answer .headline`);
  if (!headline) return;
  document.getElementById('said').textContent = headline.textContent;
  const lost = !document.activeElement || document.activeElement === document.body;
  if (lost) headline.focus({ preventScroll: true });
  headline.scrollIntoView({ block: 'nearest', behavior: still() ? 'auto' : 'smooth' });
  if (exampleOf[tab]) addLink(document.querySelector(`#${tab}-answer .download`), exampleOf[tab]);
  noteAnswer(tab);
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
const exampleOf = {}; // by tab: the example that its answer is about, or will be
const exampleAsked = () => new URLSearchParams(location.search).get('example');

const withExample = name => {
  const address = new URL(location);
  if (name) address.searchParams.set('example', name);
  else address.searchParams.delete('example');
  return address;
};

const addLink = (beside, example) => {
  const link = document.createElement('a');
  link.className = 'download';
  link.target = '_blank';
  link.href = `${location.pathname}?example=${encodeURIComponent(example)}`;
  link.textContent = 'Link to this answer';
  beside?.after(link);
};

const whenThere = (find, act) => {
  const timer = setInterval(() => {
    const found = find();
    if (!found) return;
    clearInterval(timer);
    act(found);
  }, 200);
  setTimeout(() => clearInterval(timer), 20000);
};

const pressExample = name => {
  whenThere(() => document.getElementById(`example-${name}`), example => example.click());
};

// The browser's Back does what the button back to the first screen does: an entry of its history
// lists the tabs that show an answer.
const answered = new Set();
const listed = () => history.state?.answers ?? [];

const noteAnswer = tab => {
  answered.add(tab);
  const address = withExample(exampleOf[tab]);
  if (listed().includes(tab)) {
    history.replaceState({ answers: listed() }, '', address);
    return;
  }
  if (!listed().length) history.replaceState(null, '', withExample()); // it was a link to an answer
  history.pushState({ answers: [...listed(), tab] }, '', address);
};

const leaveAnswer = tab => {
  delete exampleOf[tab];
  answered.delete(tab);
  const others = listed().filter(one => one !== tab);
  if (listed().at(-1) === tab) history.back();
  else history.replaceState({ answers: others }, '', withExample(exampleOf[others.at(-1)]));
};

// On a phone, it may be in Gradio's menu of tabs. (Those that it takes the measure of have an index.)
const tabButton = tab => [...document.querySelectorAll('.tab-wrapper button:not([tabindex])')]
  .find(button => button.textContent.trim() === TABS[tab].name);

addEventListener('popstate', () => {
  const left = [...answered].filter(tab => !listed().includes(tab));
  const unseen = left.map(tabButton).find(tab => tab?.matches(':not([aria-selected=true])'));
  if (unseen) { // from another tab, Back leads to the answer first
    unseen.click();
    history.forward();
    return;
  }
  for (const tab of left) document.getElementById(`${tab}-again`)?.click();
  const example = exampleAsked(); // the browser's Forward
  if (example && !Object.values(exampleOf).includes(example)) pressExample(example);
});

document.addEventListener('click', event => {
  const example = event.target.closest('[id^="example-"]');
  if (example) {
    const tab = example.classList.contains('clip') ? 'video' : 'photo';
    exampleOf[tab] = example.id.slice('example-'.length);
  }
  const again = event.target.closest('.again');
  if (again) leaveAnswer(again.id.replace('-again', ''));
});

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
// Capturing listeners hear of a file before Gradio does.
const ENDINGS = {
  image: /\.(jpe?g|jfif|mpo|png|webp|avif|hei[cf]|bmp|gif|tiff?)$/i,
  video: /\.(mp4|m4v|mov|webm)$/i,
};

const isA = (kind, file) => file.type.startsWith(`${kind}/`);

// Some systems have no type for HEIC or QuickTime, or a wrong one: then the ending counts.
const typed = (file, kind) => {
  const ending = ENDINGS[kind].exec(file.name)?.[1];
  if (isA(kind, file) || !ending) return file;
  return new File([file], file.name, { type: `${kind}/${ending}`, lastModified: file.lastModified });
};

const halt = event => {
  event.preventDefault();
  event.stopImmediatePropagation();
};

// Have the server say in the place of the answer what went wrong: of a file, its name and size.
const say = (tab, wrong) => {
  window.wrong = wrong;
  document.getElementById(`${tab}-refused`).click();
};

// Return the files to go on with, or nothing where one is refused.
const accepted = (event, files) => {
  const tab = event.target.closest?.('[id$="-input"]')?.id.replace('-input', '');
  const kind = TABS[tab]?.kind;
  if (!kind) return files;
  delete exampleOf[tab];
  const all = [...files].map(file => typed(file, kind));
  const wrong = all.find(file => file.size > MAX_BYTES || !isA(kind, file));
  if (wrong) {
    halt(event);
    say(tab, [wrong.name, wrong.size]);
    return null;
  }
  if (all.every((file, number) => file === files[number])) return files;
  const changed = new DataTransfer();
  for (const file of all) changed.items.add(file);
  return changed.files;
};

addEventListener('change', event => {
  if (event.target.type !== 'file') return;
  const files = accepted(event, event.target.files);
  if (!files) event.target.value = ''; // it may be chosen again
  else if (files !== event.target.files) event.target.files = files;
}, true);
addEventListener('drop', event => {
  const dropped = event.dataTransfer?.files ?? [];
  const files = accepted(event, dropped);
  if (files === dropped) return;
  halt(event);
  const again = { bubbles: true, cancelable: true, dataTransfer: new DataTransfer() };
  for (const file of files ?? []) again.dataTransfer.items.add(file);
  event.target.dispatchEvent(new DragEvent(files ? 'drop' : 'dragleave', again));
}, true);

// Gradio says nothing where the camera or the clipboard gives no picture.
const readClipboard = navigator.clipboard?.read?.bind(navigator.clipboard);
if (readClipboard) {
  navigator.clipboard.read = async () => {
    const items = await readClipboard();
    const hasPicture = items.some(item => item.types.some(type => type.startsWith('image/')));
    if (!hasPicture) throw new DOMException('no picture', 'NotFoundError');
    return items;
  };
}
addEventListener('unhandledrejection', event => {
  const input = document.getElementById('photo-input');
  if (!input?.checkVisibility() || !/^Not\w+Error$/.test(event.reason?.name)) return;
  say('photo', input.querySelector('video') ? 'camera' : 'clipboard');
});

// ?example=NAME shows the answer to an example again.
if (exampleAsked()) pressExample(exampleAsked());

// Gradio loads the page anew after a lost connection: whoever waited for an answer is told so.
// Browsers may forbid a page within another to store anything.
addEventListener('pagehide', () => {
  const answer = document.querySelector('[id$="-answer"] progress')?.closest('[id$="-answer"]');
  if (answer) sessionStorage.setItem('waited', answer.id.replace('-answer', ''));
});
try {
  const tab = sessionStorage.getItem('waited');
  sessionStorage.removeItem('waited');
  if (tab in TABS && !exampleAsked()) {
    whenThere(() => tabButton(tab), button => {
      button.click();
      whenThere(() => document.getElementById(`${tab}-refused`), () => say(tab, 'lost'));
    });
  }
} catch { /* then nothing is said */ }
