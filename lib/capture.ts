import { isGradEnabled } from './autograd/index.js';
import { defaultDevice, type Device } from './device.js';
import {
  ArgumentError,
  check,
  checkShape,
  DeviceError,
  DisposedError,
  EmulsionError,
} from './errors.js';
import { addon, native, type Graph, type Id } from './native.js';
import { autocastDType, forgetWeightCopies, withOwnCopies } from './ops/autocast.js';
import { currentRecording, withRecording } from './recording.js';
import { keep, replaceTensors, tensorsIn, tidy } from './scope.js';
import { empty, noteWritten, Tensor, type Reference } from './tensor.js';

const kernels = native<{ copy(x: Id, y: Id): void }>('copy');

/**
 * Memory of recordings that take turns, as PyTorch's graph pools: what one computes on its way lies where the others'
 * does. What a step leaves there beside its outputs, that is gradients, the next call of another overwrites.
 */
export class CapturePool {
  /** @internal The recordings that live. */
  readonly graphs = new Set<Graph>();
}

export interface CaptureOptions {
  /** Calls that run as they are before one is recorded, at least 1. Default 1. */
  warmup?: number;
  /**
   * Weights keep their values as long as the step lives, as in sampling: the `autocast` region around the calls
   * converts them once for all. Default false: every replay converts them anew.
   */
  fixedWeights?: boolean;
  /** Where the recording has its memory. Default: one of its own. */
  pool?: CapturePool;
}

/** A function that {@link capture} made. */
export interface CapturedStep<Inputs extends Tensor[], Output> extends Disposable {
  (...inputs: Inputs): Output;
  /** Gives back the recording and the output tensors. */
  dispose(): void;
}

/** What a backward pass inside the step does to a leaf's gradient; the replay must find the same start. */
type GradientFate = 'made' | 'added to' | 'made anew';

interface LeafGradient {
  readonly leaf: Tensor;
  readonly fate: GradientFate;
  /** A handle on the memory that every replay writes. */
  readonly grad: Tensor;
}

interface Recorded {
  readonly graph: Graph;
  readonly inputs: readonly Tensor[];
  readonly gradients: readonly LeafGradient[];
  /** What every replay writes over beside those. */
  readonly written: ReadonlySet<Reference>;
  readonly gradEnabled: boolean;
  readonly autocast: string | null;
}

// The safety net for steps that nobody disposed.
const forgotten = new FinalizationRegistry<[Graph, CapturePool]>(release);

function release([graph, pool]: [Graph, CapturePool]): void {
  pool.graphs.delete(graph);
  addon.releaseGraph(graph);
}

/**
 * Makes a step whose work a device records once and then repeats as a whole (on a GPU as a CUDA graph): hundreds
 * of operations start for the price of one call, and JavaScript leaves the processor to them. The first `warmup`
 * calls run fn; the next one records it; every later call copies its inputs over those of the recording and
 * replays. Where a device does not record (with `EMULSION_SYNC=1`) every call runs fn.
 *
 * ```ts
 * const step = capture((x: Tensor, y: Tensor) => {
 *   const loss = mseLoss(model.forward(x), y);
 *   loss.backward();
 *   return loss;
 * });
 * optimizer.zeroGrad();
 * const loss = step(images, targets);
 * optimizer.step();
 * ```
 *
 * The contract, on every device:
 * - fn is synchronous, and takes and returns tensors (alone, or in arrays, maps and plain objects).
 * - Inputs keep the shapes, dtypes and device of the first call, and require no gradient.
 * - Every call returns the same tensors, without history: the next call overwrites them, only `dispose()`
 *   frees them. Backward passes belong inside fn.
 *
 * What recording adds:
 * - JavaScript inside fn runs while warming up and recording, not in a replay: numbers, branches and
 *   the tensors it closes over are those of the recording. Weights may change in place, as optimizers do.
 * - fn reads no value, makes no tensor from host data, draws no random numbers and steps no optimizer
 *   (whose step number would stand still): all are refused while recording. Pass noise and data as inputs.
 * - Gradients must begin each call as they began the recorded one: `zeroGrad()` before each call, inside fn,
 *   or never.
 */
export function capture<Inputs extends Tensor[], Output>(
  fn: (...inputs: Inputs) => Output,
  options: CaptureOptions = {},
): CapturedStep<Inputs, Output> {
  const { warmup = 1, fixedWeights = false, pool = new CapturePool() } = options;
  check(typeof fn === 'function', () => 'capture: expected a function');
  check(
    Number.isInteger(warmup) && warmup >= 1,
    () => `capture: warmup must be an integer >= 1, got ${warmup}`,
  );
  const step = new Step(fn, warmup, fixedWeights, pool);
  const call = (...inputs: Inputs): Output => step.call(inputs);
  const dispose = (): void => step.dispose();
  return Object.assign(call, { dispose, [Symbol.dispose]: dispose });
}

class Step<Inputs extends Tensor[], Output> {
  private calls = 0;
  private signature: { inputs: readonly string[]; device: Device } | null = null;
  private output: { value: Output; tensors: readonly Tensor[] } | null = null;
  private leaves: ReadonlySet<Tensor> = new Set();
  private recorded: Recorded | null = null;
  private disposed = false;

  constructor(
    private readonly fn: (...inputs: Inputs) => Output,
    private readonly warmup: number,
    private readonly fixedWeights: boolean,
    private readonly pool: CapturePool,
  ) {}

  call(inputs: Inputs): Output {
    if (this.disposed) throw new DisposedError('capture: the step was disposed');
    if (currentRecording())
      throw new EmulsionError(
        'capture: a captured step inside another; call its function',
        'ERR_CAPTURE',
      );
    const { device } = this.check(inputs);
    if (!addon.records(device.index) || this.calls < this.warmup) {
      const leaves = new Set<Tensor>();
      withRecording({ recording: false, leaves, written: new Set() }, () => this.run(inputs));
      this.leaves = leaves;
    } else {
      this.recorded ??= this.record(inputs, device);
      this.replay(this.recorded, inputs);
    }
    ++this.calls;
    return this.output!.value;
  }

  dispose(): void {
    this.disposed = true;
    for (const tensor of this.output?.tensors ?? []) tensor.dispose();
    if (!this.recorded) return;
    forgotten.unregister(this);
    release([this.recorded.graph, this.pool]);
    for (const input of this.recorded.inputs) input.dispose();
    for (const { grad } of this.recorded.gradients) grad.dispose();
    this.recorded = null;
  }

  // The first call's inputs are what every other call's must be like.
  private check(inputs: Inputs): { device: Device } {
    inputs.forEach((x, i) => {
      check(x instanceof Tensor, () => `capture: input ${i} must be a Tensor, got ${String(x)}`);
      if (x.disposed) throw new DisposedError(`capture: input ${i} (${x.describe()}) was disposed`);
      check(
        !x.requiresGrad,
        () => `capture: input ${i} requires a gradient; inputs are data: detach() it`,
      );
    });
    const device = inputs[0]?.device ?? defaultDevice();
    this.signature ??= { inputs: inputs.map((x) => x.describe()), device };
    const first = this.signature.inputs;
    check(
      inputs.length === first.length,
      () => `capture: expected ${first.length} inputs as in the first call, got ${inputs.length}`,
    );
    inputs.forEach((x, i) => {
      checkShape(
        x.describe() === first[i],
        () => `capture: input ${i} was ${first[i]} in the first call, got ${x.describe()}`,
      );
      if (x.device !== this.signature!.device)
        throw new DeviceError(
          `capture: input ${i} is on ${x.device}; the step runs on ${this.signature!.device}`,
        );
    });
    return this.signature;
  }

  // Runs fn and copies what it returns into the step's outputs.
  private run(inputs: Inputs): void {
    tidy(() => {
      const call = () => this.fn(...inputs);
      const value = this.fixedWeights ? call() : withOwnCopies(call);
      if (value instanceof Promise) {
        value.catch(() => undefined); // the error below is the one to see
        throw new ArgumentError(
          'capture: the function must be synchronous, and returned a promise',
        );
      }
      const results = [...tensorsIn(value)];
      this.output ??= this.makeOutput(value);
      const outputs = this.output.tensors;
      check(
        results.length === outputs.length &&
          results.every(
            (x, i) => x.dtype === outputs[i].dtype && x.shape.join() === outputs[i].shape.join(),
          ),
        () =>
          `capture: the function returned ${list(outputs)} in the first call and ${list(results)} now`,
      );
      results.forEach((x, i) => kernels.copy(x.id, outputs[i].id));
      noteWritten(outputs);
    });
  }

  private makeOutput(value: Output): { value: Output; tensors: readonly Tensor[] } {
    const tensors: Tensor[] = [];
    const made = replaceTensors(value, (x) => {
      const tensor = keep(empty(x.shape, x));
      tensors.push(tensor);
      return tensor;
    });
    return { value: made, tensors };
  }

  private record(inputs: Inputs, device: Device): Recorded {
    const own = inputs.map((x) => keep(empty(x.shape, x)));
    const before = new Map([...this.leaves].map((leaf) => [leaf, leaf.grad]));
    const leaves = new Set<Tensor>();
    const written = new Set<Reference>();
    let graph: Graph;
    const [sharing = 0] = this.pool.graphs;
    addon.beginCapture(device.index, sharing);
    try {
      withRecording({ recording: true, leaves, written }, () => this.run(own as Inputs));
    } catch (error) {
      addon.cancelCapture();
      abandon(own, leaves, before);
      throw error;
    }
    try {
      graph = addon.endCapture();
    } catch (error) {
      abandon(own, leaves, before);
      throw error;
    }
    this.pool.graphs.add(graph);
    forgotten.register(this, [graph, this.pool], this);
    const gradients = [...leaves].map((leaf): LeafGradient => {
      const start = before.get(leaf) ?? null;
      const fate = start === null ? 'made' : start === leaf.grad ? 'added to' : 'made anew';
      return { leaf, fate, grad: keep(leaf.grad!.alias()) };
    });
    // As before the call: the replay that follows is the call.
    for (const { leaf, fate } of gradients) {
      if (fate !== 'made') continue;
      leaf.grad!.dispose();
      leaf.grad = null;
    }
    return {
      graph,
      inputs: own,
      gradients,
      written,
      gradEnabled: isGradEnabled(),
      autocast: autocastDType(),
    };
  }

  private replay(recorded: Recorded, inputs: Inputs): void {
    check(
      recorded.gradEnabled === isGradEnabled() && recorded.autocast === autocastDType(),
      () =>
        `capture: recorded with gradients ${recorded.gradEnabled ? 'on' : 'off'} and autocast ` +
        `${recorded.autocast ?? 'off'}, called with ${isGradEnabled() ? 'on' : 'off'} and ` +
        `${autocastDType() ?? 'off'}`,
    );
    recorded.gradients.forEach(checkStart);
    inputs.forEach((x, i) => kernels.copy(x.id, recorded.inputs[i].id));
    addon.replay(recorded.graph);
    for (const memory of recorded.written) memory.noteWrite();
    for (const { leaf, fate, grad } of recorded.gradients) {
      noteWritten([grad]);
      if (fate === 'added to') continue;
      leaf.grad?.dispose();
      leaf.grad = grad.alias();
    }
  }
}

const list = (tensors: readonly Tensor[]): string =>
  tensors.map((x) => x.describe()).join(', ') || 'no tensors';

function checkStart({ leaf, fate, grad }: LeafGradient): void {
  if (fate === 'made anew') return;
  const fits =
    fate === 'made' ? leaf.grad === null : leaf.grad !== null && leaf.grad.memory === grad.memory;
  if (fits) return;
  throw new EmulsionError(
    `capture: a leaf ${leaf.describe()} ${leaf.grad ? 'has' : 'lacks'} the gradient that it ` +
      `${fate === 'made' ? 'lacked' : 'had'} when the step was recorded. Call zeroGrad() before every call, ` +
      'inside the function, or never.',
    'ERR_CAPTURE',
  );
}

// What a broken recording left behind was never computed: gradients, and copies of weights in the region around it.
function abandon(
  own: readonly Tensor[],
  leaves: ReadonlySet<Tensor>,
  before: ReadonlyMap<Tensor, Tensor | null>,
): void {
  forgetWeightCopies();
  for (const input of own) input.dispose();
  for (const leaf of leaves) {
    if (leaf.grad === (before.get(leaf) ?? null)) continue;
    leaf.grad?.dispose();
    leaf.grad = null;
  }
}
