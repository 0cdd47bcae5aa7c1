// Reports that people look at: plots, pages, and how fast a model samples.
export {
  drawPlot,
  smooth,
  writePlot,
  type Curve,
  type Plot,
  type PlotStyle,
  type Point,
} from './plot.js';
export type { Axis } from './scale.js';
export { readMetrics, type Metrics } from './metrics.js';
export type { ThinnedSeries } from './thinned.js';
export { makeReport, type ReportOptions } from './page.js';
export {
  describeMachine,
  measureThroughput,
  type ThroughputCase,
  type ThroughputOptions,
} from './throughput.js';
export {
  checkThroughput,
  readThroughput,
  writeThroughput,
  type MachineDescription,
  type ThroughputEntry,
  type ThroughputFile,
} from './throughput_file.js';
export { throughputPlot } from './throughput_plot.js';
