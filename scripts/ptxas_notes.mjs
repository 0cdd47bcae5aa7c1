/** A word on each kernel that uses local memory, by file and kernel: the table's last column. */
export const spillNotes = {
  'conv2d_gather.cu hopper_kernel<BulkMatrix, BulkMatrix, WalkEpilogue>':
    'eight words: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'conv2d_halo_hopper.cu halo_kernel': 'one word in two of the widths',
  'conv2d_hopper.cu hopper_kernel<BulkPixels, BulkFilters, TileEpilogue>':
    'nine words: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'conv2d_weight_hopper.cu hopper_kernel<BulkGradient, BulkColumns, TapEpilogue>':
    'six words: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'linear.cu hopper_kernel<BulkMatrix, BulkMatrix, Finish>':
    'five words: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'matmul.cu hopper_kernel<BulkMatrix, BulkMatrix, StoreRows>':
    'two words: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'unary.cu unary_forward':
    'sin and cos of large arguments reduce by a table in local memory; rare',
  'unary.cu unary_backward':
    'sin and cos of large arguments reduce by a table in local memory; rare',
  'attention.cu backward_kernel':
    'depth 160 keeps two gradients of 160 channels and a tile of scores; a few words at other depths',
  'attention.cu forward_kernel': 'depth 96 with 32 queries a warp, two words',
  'conv2d_gather.cu gemm_kernel<WalkPixels, WalkFilters, WalkEpilogue>':
    'sums of 64 x 64 a warp fill the file; the pixels that a thread gathers spill',
  'conv2d_gather.cu gemm_kernel<Matrix, Matrix, WalkEpilogue>':
    'sums of 64 x 64 a warp fill the file; what addresses need spills',
  'conv2d_weight.cu gemm_kernel<Matrix, WalkColumns, StoreRows>':
    'sums of 64 x 64 a warp fill the file; what addresses need spills',
  'linear.cu gemm_kernel<Matrix, Matrix, Finish>':
    'sums of 64 x 64 a warp fill the file; what addresses need spills',
  'linear.cu hopper_kernel<BulkMatrix, BulkMatrix, FinishPairs>':
    'five words: two blocks of 128 x 128 leave 96 registers to 64 sums',
  'linear.cu gemm_kernel<Matrix, PairedRows, FinishPairs>':
    'element-by-element copies of lines that are not aligned',
  'matmul.cu gemm_kernel<Matrix, Matrix, StoreRows>':
    'sums of 64 x 64 a warp fill the file; float32 tiles of 128 x 128 lose the most',
  'reduce.cu reduce_rows<Whole>': 'rows of int32, seven words',
  'timestep_embedding.cu embed':
    'sin and cos of large arguments reduce by a table in local memory; rare',
};
