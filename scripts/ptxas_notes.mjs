/** A word on each kernel that uses local memory, by file and kernel: the table's last column. */
export const spillNotes = {
  'conv2d_gather.cu hopper_kernel':
    'one word: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'linear.cu hopper_kernel':
    'one or two words: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'matmul.cu hopper_kernel': 'three words: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'unary.cu unary_forward':
    'sin and cos of large arguments reduce by a table in local memory; rare',
  'unary.cu unary_backward':
    'sin and cos of large arguments reduce by a table in local memory; rare',
};
