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
  'attention.cu backward_kernel':
    'depth 160 keeps two gradients of 160 channels and a tile of scores; a few words at other depths',
  'attention.cu forward_kernel':
    'two instantiations (depths 32 and 48), a few words outside of the walk over keys',
  'conv2d_gather.cu WalkPixels':
    'sums of 64 x 64 a warp fill the file; the pixels that a thread gathers spill',
  'conv2d_gather.cu gemm_kernel':
    'sums of 64 x 64 a warp fill the file; what addresses need spills',
  'conv2d_weight.cu WalkColumns':
    'sums of 64 x 64 a warp fill the file; what addresses need spills',
  'linear.cu Finish': 'sums of 64 x 64 a warp fill the file; what addresses need spills',
  'linear.cu FinishPairs': 'the epilogue of 256 columns on Hopper, two words',
  'linear.cu PairedRows': 'element-by-element copies of lines that are not aligned',
  'matmul.cu Store':
    'sums of 64 x 64 a warp fill the file; float32 tiles of 128 x 128 lose the most',
  'reduce.cu Whole': 'rows of int32, seven words',
  'timestep_embedding.cu embed':
    'sin and cos of large arguments reduce by a table in local memory; rare',
};
