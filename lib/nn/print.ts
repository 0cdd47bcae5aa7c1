// Draws a module as a tree, one line per module.
import { childrenOf, ownSlots, slotsOf, type ModuleNode } from './fields.js';

const grouped = (count: number) => count.toLocaleString('en-US');

/**
 * ```text
 * Sequential                         1,456 parameters
 *   0: Conv2d(3 → 8, kernel 3)       weight [8, 3, 3, 3], bias [8]   224
 *   1: SiLU
 * ```
 * Shapes are those of files. Columns are aligned within the tree.
 */
export function drawTree(root: ModuleNode): string {
  const rows: [name: string, tensors: string, count: string][] = [];
  const visit = (module: ModuleNode, name: string, depth: number): void => {
    const facts = module.facts();
    const title = name + module.constructor.name + (facts && `(${facts})`);
    const slots = [...ownSlots(module)];
    const tensors = slots.map(({ field, tensor }) => {
      const shape = module.fileLayout(field)?.shape(tensor.shape) ?? tensor.shape;
      return `${field} [${shape.join(', ')}]`;
    });
    const trained = [...slotsOf(module)].filter(({ role }) => role === 'parameter');
    const parameters = [...new Set(trained.map(({ tensor }) => tensor))];
    const count = parameters.reduce((sum, tensor) => sum + tensor.numel, 0);
    const frozen = count > 0 && parameters.every((tensor) => !tensor.requiresGrad);
    const total = grouped(count) + (depth === 0 ? ' parameters' : '') + (frozen ? ' (frozen)' : '');
    rows.push([
      '  '.repeat(depth) + title,
      tensors.join(', '),
      count > 0 || depth === 0 ? total : '',
    ]);
    for (const [field, child] of childrenOf(module)) visit(child, `${field}: `, depth + 1);
  };
  visit(root, '', 0);
  const width = (column: 0 | 1) => Math.max(...rows.map((row) => row[column].length));
  const [names, shapes] = [width(0), width(1)];
  const lines = rows.map(([name, tensors, count]) =>
    `${name.padEnd(names)}  ${tensors.padEnd(shapes)}  ${count}`.trimEnd(),
  );
  return lines.join('\n');
}
