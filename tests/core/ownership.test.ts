import { describe, expect, test } from 'vitest';
import { Scope, type History, type Owned } from '../../lib/ownership.js';

/** An operation that counts how often its parents are asked for. */
class Step implements History {
  released = false;
  visits = 0;

  constructor(
    readonly sequence: number,
    private readonly from: Step[],
  ) {}

  parents(): Step[] {
    ++this.visits;
    return this.from;
  }

  release(): void {
    this.released = true;
  }
}

class Result implements Owned {
  scope: Scope | null = null;
  scopeIndex = 0;

  constructor(readonly node: Step) {}

  dispose(): void {
    this.scope?.remove(this);
  }
}

describe('a scope that closes', () => {
  test('releases operations that led nowhere and keeps those that a kept result follows from', () => {
    const [first, left, right] = [new Step(1, []), new Step(2, []), new Step(3, [])];
    const last = new Step(4, [left, first]);
    const scope = new Scope();
    const results = [first, left, right, last].map((node) => new Result(node));
    for (const result of results) scope.add(result);
    scope.give(results[3], null);
    scope.close();
    expect([first, left, right, last].map((node) => node.released)).toEqual([
      false,
      false,
      true,
      false,
    ]);
  });

  // A network's layers each have a scope: to walk back to its first layer at every end would take a time that
  // grows with the square of its depth.
  test('does not walk back to what was recorded before it', () => {
    const chain = [new Step(1, [])];
    for (let i = 2; i <= 100; ++i) chain.push(new Step(i, [chain.at(-1)!]));
    const scope = new Scope();
    const inner = new Step(101, [chain.at(-1)!]);
    const outer = new Step(102, [inner]);
    const kept = new Result(outer);
    scope.add(new Result(inner));
    scope.add(kept);
    scope.give(kept, null);
    scope.close();
    expect([inner.released, outer.released]).toEqual([false, false]);
    expect(chain.reduce((sum, node) => sum + node.visits, 0)).toBe(0);
  });
});
