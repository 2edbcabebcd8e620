/** The pixels of an open image: decoded by the browser, or tiles of a pyramid that the service makes of a large one. */

import { signal, type ReadonlySignal } from "@preact/signals";

import { PageError, type Pixels } from "../backend";
import { type Box, type Size, whole } from "../labels/runs";

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/** A rectangle of a canvas [px of its coordinates]. */
export interface Frame extends Size {
  readonly x: number;
  readonly y: number;
}

export interface Picture extends Size {
  readonly isClosed: boolean;
  /** Incremented when more of it can be drawn. */
  readonly loaded: ReadonlySignal<number>;
  /** Draw a rectangle of the image into one of a canvas. @param density pixels of the canvas for each unit of its coordinates. */
  draw(context: Context, from: Box, to: Frame, density?: number): void;
  /** A rectangle on white, opaque, with at least so many pixels as far as the image has them. @throws PageError it doesn't fit into memory. */
  pixels(box: Box, least: Size): Promise<Pixels>;
  close(): void;
}

export class BitmapPicture implements Picture {
  readonly width: number;
  readonly height: number;
  readonly loaded = signal(0);

  constructor(private readonly bitmap: ImageBitmap) {
    ({ width: this.width, height: this.height } = bitmap);
  }

  get isClosed(): boolean {
    // one that was closed has no width
    return !this.bitmap.width;
  }

  draw(context: Context, { left, top, right, bottom }: Box, to: Frame): void {
    context.drawImage(this.bitmap, left, top, right - left, bottom - top, to.x, to.y, to.width, to.height);
  }

  async pixels(box: Box): Promise<Pixels> {
    return read({ width: box.right - box.left, height: box.bottom - box.top }, (context, size) =>
      this.draw(context, box, { x: 0, y: 0, ...size }),
    );
  }

  close(): void {
    this.bitmap.close();
  }
}

/** Images with more pixels are shown as tiles, where a service makes them. */
export const TILED_PIXELS = 16e6;

/** Side of a tile [px]. */
const SIDE = 512;

/** Tiles that are kept: 1 MB each. */
const MOST = 120;

/** What a pyramid's tiles are read from. */
export type ReadTile = (level: number, row: number, column: number) => Promise<Blob>;

interface Tile {
  /** null: it is being read. */
  bitmap: ImageBitmap | null;
  readonly reading: Promise<ImageBitmap | null>;
}

export class TiledPicture implements Picture {
  isClosed = false;
  readonly loaded = signal(0);
  /** Width and height of each level, half of those before; the last is one tile. */
  private readonly levels: Size[] = [];
  /** By level, row and column, those that were used last at the end. */
  private readonly tiles = new Map<string, Tile>();

  private constructor(
    readonly width: number,
    readonly height: number,
    private readonly read: ReadTile,
  ) {
    for (let size: Size = { width, height }; ; size = { width: Math.ceil(size.width / 2), height: Math.ceil(size.height / 2) }) {
      this.levels.push(size);
      if (Math.max(size.width, size.height) <= SIDE) return;
    }
  }

  /** @throws PageError the service has no such tiles, or can't be reached. */
  static async open({ width, height }: Size, read: ReadTile): Promise<TiledPicture> {
    const picture = new TiledPicture(width, height, read);
    const all = await picture.tile(picture.levels.length - 1, 0, 0).reading;
    if (!all) throw new PageError("A tile of the image is damaged; remove the project's folder .segvoc/tiles, and load the page again.");
    return picture;
  }

  draw(context: Context, from: Box, to: Frame, density = 1): void {
    const level = this.levelOf((density * to.width) / (from.right - from.left));
    // what isn't there yet is seen coarsely
    const wanted = this.inside(level, from);
    const missing = wanted.some(([row, column]) => !this.tile(level, row, column).bitmap);
    for (let at = missing ? this.levels.length - 1 : level; at >= level; at--)
      for (const [row, column] of this.inside(at, from)) {
        const bitmap = at === level ? this.tile(at, row, column).bitmap : this.known(at, row, column);
        if (bitmap) this.place(context, bitmap, at, row, column, from, to);
      }
  }

  async pixels(box: Box, least: Size): Promise<Pixels> {
    const level = this.levelOf(Math.max(least.width / (box.right - box.left), least.height / (box.bottom - box.top)));
    const across = this.levels[level].width / this.width,
      down = this.levels[level].height / this.height;
    const size = {
      width: Math.max(1, Math.round((box.right - box.left) * across)),
      height: Math.max(1, Math.round((box.bottom - box.top) * down)),
    };
    const tiles = this.inside(level, box).map(async ([row, column]) => {
      const bitmap = await this.tile(level, row, column).reading;
      if (!bitmap) throw new PageError("A part of the image can't be read; check the connection, and try again.");
      return { bitmap, row, column };
    });
    const all = await Promise.all(tiles);
    return read(size, (context) => {
      for (const { bitmap, row, column } of all) this.place(context, bitmap, level, row, column, box, { x: 0, y: 0, ...size });
    });
  }

  close(): void {
    this.isClosed = true;
    for (const { reading } of this.tiles.values()) void reading.then((bitmap) => bitmap?.close());
    this.tiles.clear();
  }

  /** The smallest level that has a pixel for each one at a scale. */
  private levelOf(scale: number): number {
    const level = Math.floor(Math.log2(1 / scale) + 1e-6);
    return Math.max(0, Math.min(this.levels.length - 1, level));
  }

  /** Rows and columns of the tiles of a level in a rectangle of the image. */
  private inside(level: number, { left, top, right, bottom }: Box): [number, number][] {
    const { width, height } = this.levels[level];
    const across = width / this.width / SIDE,
      down = height / this.height / SIDE;
    const places: [number, number][] = [];
    const lastRow = Math.min(Math.ceil(height / SIDE), Math.ceil(bottom * down)),
      lastColumn = Math.min(Math.ceil(width / SIDE), Math.ceil(right * across));
    for (let row = Math.max(0, Math.floor(top * down)); row < lastRow; row++)
      for (let column = Math.max(0, Math.floor(left * across)); column < lastColumn; column++) places.push([row, column]);
    return places;
  }

  private place(context: Context, bitmap: ImageBitmap, level: number, row: number, column: number, from: Box, to: Frame): void {
    const { width, height } = this.levels[level];
    const across = (to.width / (from.right - from.left)) * (this.width / width),
      down = (to.height / (from.bottom - from.top)) * (this.height / height);
    const originX = to.x - (from.left * to.width) / (from.right - from.left),
      originY = to.y - (from.top * to.height) / (from.bottom - from.top);
    // edges on whole pixels, so that there are no gaps between tiles
    const [left, top] = [Math.floor(originX + column * SIDE * across), Math.floor(originY + row * SIDE * down)];
    const right = Math.ceil(originX + (column * SIDE + bitmap.width) * across),
      bottom = Math.ceil(originY + (row * SIDE + bitmap.height) * down);
    context.drawImage(bitmap, left, top, right - left, bottom - top);
  }

  private known(level: number, row: number, column: number): ImageBitmap | null {
    return this.tiles.get(`${level} ${row} ${column}`)?.bitmap ?? null;
  }

  private tile(level: number, row: number, column: number): Tile {
    const key = `${level} ${row} ${column}`;
    const known = this.tiles.get(key);
    const tile = known ?? this.begin(key, level, row, column);
    this.tiles.delete(key);
    this.tiles.set(key, tile);
    for (const [other, { bitmap }] of this.tiles) {
      if (this.tiles.size <= MOST) break;
      // all of the image in one tile stays
      if (other.startsWith(`${this.levels.length - 1} `) || !bitmap) continue;
      this.tiles.delete(other);
      bitmap.close();
    }
    return tile;
  }

  private begin(key: string, level: number, row: number, column: number): Tile {
    const reading = this.read(level, row, column).then(createImageBitmap).then(
      (bitmap) => {
        tile.bitmap = bitmap;
        if (!this.isClosed) this.loaded.value++;
        return bitmap;
      },
      () => {
        // it is asked for again when it is drawn next
        if (this.tiles.get(key) === tile) this.tiles.delete(key);
        return null;
      },
    );
    const tile: Tile = { bitmap: null, reading };
    return tile;
  }
}

/** All pixels of a picture. */
export function allPixels(picture: Picture): Promise<Pixels> {
  return picture.pixels(whole(picture), picture);
}

/** RGBA of a part of an open picture on cells of a size: at once, as far as it is loaded. */
export function sampled(picture: Picture, box: Box, size: Size): Uint8ClampedArray {
  const draw = (context: OffscreenCanvasRenderingContext2D) => {
    context.imageSmoothingQuality = "medium";
    picture.draw(context, box, { x: 0, y: 0, ...size });
  };
  return read(size, draw).data;
}

function read(size: Size, draw: (context: OffscreenCanvasRenderingContext2D, size: Size) => void): Pixels {
  const { width, height } = size;
  try {
    const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false, willReadFrequently: true })!;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    draw(context, size);
    return { width, height, data: context.getImageData(0, 0, width, height).data };
  } catch {
    throw new PageError(`The image needs more memory than this browser has: ${width} × ${height} pixels; shrink it.`);
  }
}
