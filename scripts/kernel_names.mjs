/** Of elements and of tiles: what a kernel computes in, not what it does. */
const plain = /^(bfloat16|float16)$|Tiles?$/;

const path = (text) => /^[\w:]*/.exec(text)[0];
const last = (qualified) => qualified.split('::').at(-1);

/** The template arguments that `text` begins with, in <>; none if it does not. */
function templateArguments(text) {
  const found = [''];
  for (let i = 0, depth = 0; i < text.length; ++i) {
    if ('<('.includes(text[i])) ++depth;
    if ('>)'.includes(text[i])) --depth;
    if (depth === 0) break;
    if (depth === 1 && '<,'.includes(text[i])) found.push('');
    else found[found.length - 1] += text[i];
  }
  return found.slice(1).map((each) => each.trim());
}

/**
 * What the table calls a kernel, from its demangled symbol. Kernels of a file's own stand in its
 * anonymous namespace. Those of headers do not: files make them of different loaders, epilogues and
 * reductions, so that their classes belong to the name.
 */
export function kernelName(demangled) {
  const symbol = demangled
    .replace(/\(anonymous namespace\)|_GLOBAL__N_\w+/g, 'anonymous')
    .replace(/^void /, '');
  const name = path(symbol);
  if (name.includes('anonymous::')) return last(name);
  const classes = templateArguments(symbol.slice(name.length))
    .map(path)
    .filter((each) => each.includes('::') && !plain.test(last(each)));
  return last(name) + (classes.length ? `<${classes.map(last).join(', ')}>` : '');
}
