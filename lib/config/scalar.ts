// Plain YAML scalars as the original reads them: OmegaConf on PyYAML, so YAML 1.1 with one change
// (`1e-4` is a number although it has no dot) and without timestamps.
import type { Scalar } from './node.js';

const nulls = /^(?:~|null|Null|NULL|)$/;
const truths = /^(?:yes|Yes|YES|true|True|TRUE|on|On|ON)$/;
const falsehoods = /^(?:no|No|NO|false|False|FALSE|off|Off|OFF)$/;
const decimal = /^[-+]?(?:0|[1-9][0-9_]*)$/;
const radix = /^([-+]?)(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+)$/;
const float =
  /^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?)$/;
const infinity = /^([-+]?)\.(?:inf|Inf|INF)$/;
const notANumber = /^\.(?:nan|NaN|NAN)$/;

/**
 * The value of an unquoted scalar. Base 60 numbers (`1:30`), which nobody means, stay text.
 *
 * ```ts
 * readScalar('4.5e-6'); // 0.0000045
 * readScalar('1e-4');   // 0.0001
 * readScalar('no');     // false
 * ```
 */
export function readScalar(text: string): Scalar {
  if (nulls.test(text)) return null;
  if (truths.test(text)) return true;
  if (falsehoods.test(text)) return false;
  const plain = text.replaceAll('_', '');
  if (decimal.test(text) || float.test(text)) return Number(plain);
  const whole = radix.exec(plain);
  // YAML 1.1 writes octal numbers as C does: 0755.
  if (whole && radix.test(text))
    return (whole[1] === '-' ? -1 : 1) * Number(whole[2].replace(/^0(?=[0-7])/, '0o'));
  const infinite = infinity.exec(text);
  if (infinite) return infinite[1] === '-' ? -Infinity : Infinity;
  return notANumber.test(text) ? NaN : text;
}
