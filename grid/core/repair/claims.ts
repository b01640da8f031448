/** Who is believed to hold which image: a bit for each image, by its number, and each server, by its position in the ranking. */
import { lowestIn } from "./server-bits.ts"

export class Claims {
  /** Words of 32 servers for each image. */
  words = 1
  #bits = new Uint32Array(0)

  /** Claims move over to the new positions, which are by the old ones; undefined is who left. `imagesEnd`: one more than the highest number of an image. */
  setServers(serverCount: number, moved: readonly (number | undefined)[], imagesEnd: number): void {
    const before = { bits: this.#bits, words: this.words }
    this.words = Math.max(1, Math.ceil(serverCount / 32))
    this.#bits = new Uint32Array(Math.max(64, imagesEnd) * this.words)
    for (let image = 0; image < imagesEnd; image += 1)
      for (let word = 0; word < before.words; word += 1)
        for (let bits = before.bits[image * before.words + word] ?? 0; bits !== 0; bits &= bits - 1) {
          const to = moved[lowestIn(bits, word)]
          if (to !== undefined) this.add(to, image)
        }
  }

  /** Makes room for an image of this number. */
  makeRoom(image: number): void {
    if ((image + 1) * this.words <= this.#bits.length) return
    const grown = new Uint32Array(Math.max(64 * this.words, this.#bits.length * 2))
    grown.set(this.#bits)
    this.#bits = grown
  }

  add(server: number, image: number): void {
    const at = image * this.words + (server >>> 5)
    this.#bits[at] = (this.#bits[at] ?? 0) | (1 << (server & 31))
  }

  delete(server: number, image: number): void {
    const at = image * this.words + (server >>> 5)
    this.#bits[at] = (this.#bits[at] ?? 0) & ~(1 << (server & 31))
  }

  forgetImage(image: number): void {
    this.#bits.fill(0, image * this.words, (image + 1) * this.words)
  }

  has(server: number, image: number): boolean {
    return ((this.#bits[image * this.words + (server >>> 5)] ?? 0) & (1 << (server & 31))) !== 0
  }

  /** One word of the image's holders. */
  word(image: number, word: number): number {
    return this.#bits[image * this.words + word] ?? 0
  }

  /** Images that this server is believed to hold, of the numbers below `imagesEnd`. */
  of(server: number, imagesEnd: number): number[] {
    const found: number[] = []
    const [bits, words, bit] = [this.#bits, this.words, 1 << (server & 31)]
    for (let image = 0, at = server >>> 5; image < imagesEnd; image += 1, at += words) if (((bits[at] ?? 0) & bit) !== 0) found.push(image)
    return found
  }
}
