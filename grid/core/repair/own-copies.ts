/** Copies that this server holds: those of images in force, and those of retired ones that something still reads. */
import type { ImageId } from "../repair-events.ts"
import type { Images } from "./images.ts"

export class OwnCopies {
  readonly #images: Images
  readonly #held = new Set<number>()
  #list: readonly number[] | null = null
  /** Of all that is held, retired ones left out. */
  bytes = 0
  /** Held, and not in force. */
  readonly #retired = new Set<ImageId>()
  #inUse: ReadonlySet<ImageId> = new Set()

  constructor(images: Images) {
    this.#images = images
  }

  get size(): number {
    return this.#held.size
  }

  has(image: number): boolean {
    return this.#held.has(image)
  }

  [Symbol.iterator](): Iterator<number> {
    return this.#held[Symbol.iterator]()
  }

  /** All of them, in the order in which they came. */
  list(): readonly number[] {
    this.#list ??= [...this.#held]
    return this.#list
  }

  add(image: number): void {
    if (!this.#held.has(image)) this.bytes += this.#images.unitOf(image).sealedBytes
    this.#held.add(image)
    this.#list = null
  }

  delete(image: number): void {
    if (this.#held.delete(image)) this.bytes -= this.#images.unitOf(image).sealedBytes
    this.#list = null
  }

  /** Before its number is taken from it. */
  retire(image: number): void {
    if (!this.#held.has(image)) return
    this.delete(image)
    this.#retired.add(this.#images.idOf(image))
  }

  /** Told of an image that is not in force. */
  setRetired(id: ImageId, isHeld: boolean): void {
    if (isHeld) this.#retired.add(id)
    else this.#retired.delete(id)
  }

  /** In force again: whether it was held. */
  takeBack(id: ImageId): boolean {
    return this.#retired.delete(id)
  }

  setInUse(images: readonly ImageId[]): void {
    this.#inUse = new Set(images)
  }

  isInUse(id: ImageId): boolean {
    return this.#inUse.has(id)
  }

  /** Retired ones that nothing reads any more. They are not held from now on. */
  takeUnused(): readonly ImageId[] {
    if (this.#retired.size === 0) return []
    const unused = [...this.#retired].filter((id) => !this.#inUse.has(id))
    for (const id of unused) this.#retired.delete(id)
    return unused
  }
}
