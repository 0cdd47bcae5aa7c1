// A side of the comparison: a process that prepares and runs what it is told.
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Answers, Request, Work } from './protocol.js';

export class Side {
  private constructor(
    private readonly child: ChildProcess,
    private readonly answers: AsyncIterator<string>,
    readonly version: string,
  ) {}

  static async start(command: string, args: readonly string[]): Promise<Side> {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve, reject) => child.on('spawn', resolve).on('error', reject));
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { version } = (await answer(answers, command)) as Answers['hello'];
    return new Side(child, answers, version);
  }

  async prepare(work: Work): Promise<void> {
    await this.ask({ prepare: work });
  }

  /** Seconds of one run, averaged over `count` in a row. */
  async run(count: number): Promise<number> {
    return ((await this.ask({ run: count })) as Answers['run']).seconds;
  }

  /** Relative error of the float32 result. */
  async error(work: Work): Promise<number> {
    return ((await this.ask({ error: work })) as Answers['error']).error;
  }

  async peakMib(): Promise<number> {
    return ((await this.ask({ peak: true })) as Answers['peak']).mib;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.child.on('close', resolve));
    this.child.stdin!.end();
    await closed;
  }

  private ask(request: Request): Promise<unknown> {
    this.child.stdin!.write(`${JSON.stringify(request)}\n`);
    return answer(this.answers, JSON.stringify(request));
  }
}

async function answer(answers: AsyncIterator<string>, asked: string): Promise<unknown> {
  const { done, value } = await answers.next();
  if (done) throw new Error(`bench:versus: a side ended instead of answering ${asked}`);
  return JSON.parse(value);
}
