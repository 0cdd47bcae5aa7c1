// Filling shapes in a map of bytes. Whoever sees a pixel's centre at whole coordinates, x to the right, sees a shape
// cover the pixels whose centres lie in it: no edge is soft, and no library's version decides a bit.

/** A picture's pixels, [height, width]: 1 is to be made, 0 is known. */
export interface Canvas {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Fills a rectangle; what lies outside of the map is cut off. */
export function fillBox(
  { data, width, height }: Canvas,
  box: { left: number; top: number; width: number; height: number },
): void {
  const [left, right] = [Math.max(0, box.left), Math.min(width, box.left + box.width)];
  if (left >= right) return;
  const bottom = Math.min(height, box.top + box.height);
  for (let y = Math.max(0, box.top); y < bottom; ++y)
    data.fill(1, y * width + left, y * width + right);
}

/**
 * Fills all that lies within `radius` of the segment: a brush's straight stroke with round ends.
 *
 * The shape is convex, so a row meets it in one interval. Its ends are those of the discs around both points and
 * of the rectangle between them.
 */
export function fillStroke(canvas: Canvas, from: Point, to: Point, radius: number): void {
  const { data, width, height } = canvas;
  const corners = rectangleAround(from, to, radius);
  const top = Math.max(0, Math.ceil(Math.min(from.y, to.y) - radius));
  const bottom = Math.min(height - 1, Math.floor(Math.max(from.y, to.y) + radius));
  for (let y = top; y <= bottom; ++y) {
    let [left, right] = [Infinity, -Infinity];
    const meet = (x: number): void => {
      left = Math.min(left, x);
      right = Math.max(right, x);
    };
    for (const centre of [from, to]) {
      const squared = radius ** 2 - (y - centre.y) ** 2;
      if (squared < 0) continue;
      meet(centre.x - Math.sqrt(squared));
      meet(centre.x + Math.sqrt(squared));
    }
    corners.forEach((a, i) => {
      const b = corners[(i + 1) % corners.length];
      if (a.y === b.y || (a.y - y) * (b.y - y) > 0) return;
      meet(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
    });
    const first = Math.max(0, Math.ceil(left));
    const last = Math.min(width - 1, Math.floor(right));
    if (first <= last) data.fill(1, y * width + first, y * width + last + 1);
  }
}

// The corners, all around; none where both points are one.
function rectangleAround(from: Point, to: Point, radius: number): Point[] {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.sqrt(dx * dx + dy * dy);
  if (length === 0) return [];
  const [across, down] = [(-dy / length) * radius, (dx / length) * radius];
  return [
    { x: from.x + across, y: from.y + down },
    { x: to.x + across, y: to.y + down },
    { x: to.x - across, y: to.y - down },
    { x: from.x - across, y: from.y - down },
  ];
}
