/** A word on each kernel that uses local memory, by file and kernel: the table's last column. */
export const spillNotes = {
  'unary.cu unary_forward':
    'sin and cos of large arguments reduce by a table in local memory; rare',
  'unary.cu unary_backward':
    'sin and cos of large arguments reduce by a table in local memory; rare',
};
