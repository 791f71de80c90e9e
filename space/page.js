/* What the page does in the browser besides Gradio's own: the heatmap's strength, tables that sort,
   and telling where an answer is. Nothing here sends anything. */

const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

// An answer has arrived in a tab: bring it into view, and tell screen readers its headline.
window.answerArrived = tab => {
  const headline = document.querySelector(`#${tab}-answer .headline`);
  if (!headline) return;
  document.getElementById('said').textContent = headline.textContent;
  const lost = !document.activeElement || document.activeElement === document.body;
  if (lost) headline.focus({ preventScroll: true });
  headline.scrollIntoView({ block: 'nearest', behavior: still() ? 'auto' : 'smooth' });
};

document.addEventListener('input', event => {
  if (!event.target.classList.contains('heat-strength')) return;
  event.target.closest('.answer').style.setProperty('--heat', event.target.value);
});

// A column's name sorts by it, and turns the order round when it is pressed again.
document.addEventListener('click', event => {
  const button = event.target.closest('[data-sort]');
  if (!button) return;
  const head = button.closest('th');
  const falling = head.ariaSort !== 'descending';
  for (const other of head.parentElement.children) other.removeAttribute('aria-sort');
  head.ariaSort = falling ? 'descending' : 'ascending';
  const text = row => row.children[head.cellIndex].textContent.trim();
  const compare = (a, b) => text(a).localeCompare(text(b), 'en', { numeric: true });
  const body = head.closest('table').tBodies[0];
  body.append(...[...body.rows].sort((a, b) => (falling ? compare(b, a) : compare(a, b))));
});

// The answer to an example has an address: ?example=NAME shows it again.
document.addEventListener('click', event => {
  const example = event.target.closest('[id^="example-"]');
  if (example) history.replaceState(null, '', `?example=${example.id.slice('example-'.length)}`);
  if (event.target.closest('.again')) history.replaceState(null, '', location.pathname);
});

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
