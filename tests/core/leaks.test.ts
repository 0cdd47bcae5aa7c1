import { expect, test } from 'vitest';

process.env.EMULSION_DEBUG = '1'; // read when the library loads
const { keep, leakReport, ones, tidy } = await import('../../lib/index.js');

test('the leak report names what nobody owns, largest first, with the line that made it', () => {
  const before = leakReport().length;
  const forgotten = tidy(() => {
    ones([7]);
    return [keep(ones([2, 3])), ones([4, 5])];
  });
  const leaks = leakReport().slice(0, 2);
  expect(leaks.map(({ bytes }) => bytes)).toEqual([80, 24]);
  expect(leaks[0].tensor).toContain('[4, 5]');
  expect(leaks[1].tensor).toContain('[2, 3]');
  for (const { stack } of leaks) expect(stack).toContain('leaks.test.ts');
  for (const tensor of forgotten) tensor.dispose();
  expect(leakReport()).toHaveLength(before);
});
