// The page's script: values under the pointer, and with the arrow keys on a chart that has the focus.

/** Runs in browsers as it stands. Texts from files reach the page as text alone. */
export const script = `
for (const figure of document.querySelectorAll('figure.chart')) {
  const svg = figure.querySelector('svg'), out = figure.querySelector('output');
  if (!svg) continue;
  const numbers = (text) => text.split(' ').map(Number);
  const curves = [...svg.querySelectorAll('g[data-name]')].map((g) => ({
    name: g.dataset.name, x: numbers(g.dataset.x), y: numbers(g.dataset.y),
    at: g.querySelector('polyline').getAttribute('points').split(' ').map((p) => Number(p.split(',')[0])),
  }));
  const [, , width, height] = numbers(svg.getAttribute('viewBox'));
  const mark = document.createElementNS('http://www.w3.org/2000/svg', 'line');
  mark.setAttribute('class', 'mark');
  svg.append(mark);
  const short = (v) => v.toLocaleString('en-US', { maximumSignificantDigits: 4 });
  const exact = (v) => v.toLocaleString('en-US', { maximumFractionDigits: 2 });
  let place = width;
  const show = (x) => {
    place = x;
    let column = x, near = Infinity;
    const parts = curves.map(({ name, x: xs, y, at }) => {
      let best = 0;
      at.forEach((each, i) => { if (Math.abs(each - x) < Math.abs(at[best] - x)) best = i; });
      if (Math.abs(at[best] - x) < near) { near = Math.abs(at[best] - x); column = at[best]; }
      return name + ' ' + short(y[best]) + ' at ' + exact(xs[best]);
    });
    for (const [name, value] of [['x1', column], ['x2', column], ['y1', 12], ['y2', height - 44]])
      mark.setAttribute(name, value);
    mark.style.display = 'inline';
    out.textContent = parts.join(' \\u00b7 ');
  };
  const hide = () => { mark.style.display = 'none'; out.textContent = ''; };
  svg.addEventListener('pointermove', (event) => {
    const box = svg.getBoundingClientRect();
    show((event.clientX - box.left) * width / box.width);
  });
  svg.addEventListener('pointerleave', hide);
  svg.setAttribute('tabindex', '0');
  svg.addEventListener('blur', hide);
  svg.addEventListener('keydown', ({ key }) => {
    if (key === 'ArrowLeft') show(Math.max(56, place - 8));
    if (key === 'ArrowRight') show(Math.min(width - 16, place + 8));
  });
}
`;
