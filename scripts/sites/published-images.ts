/** Images that a check published on a grid of sites, and which servers really have them: by the digests of the files on their disks. */
import { createHash } from "node:crypto"
import { createReadStream, existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { makeTree } from "../../test/system/trees.ts"
import type { SitesGrid } from "./grid.ts"

export type PublishedLayer = { readonly infohash: string; readonly sealedBytes: number; readonly sealedSha256: string }
export type PublishedImage = { readonly name: string; readonly layers: readonly PublishedLayer[] }

export class PublishedImages {
  readonly all: PublishedImage[] = []
  readonly #grid: SitesGrid
  readonly #contentBytes: number

  constructor(grid: SitesGrid, contentBytes: number) {
    this.#grid = grid
    this.#contentBytes = contentBytes
  }

  /** Makes the next version of `os` of a new tree, at the first server of site a, for the members of all sites. */
  async publish(): Promise<PublishedImage> {
    const grid = this.#grid
    const number = this.all.length + 1
    const tree = grid.home(`tree-${number}`)
    makeTree(tree, this.#contentBytes, String(number))
    await grid.run("a1", ["publish", tree, `os:${number}`, "--group", "default,b/default,c/default"])
    rmSync(tree, { recursive: true })
    const shown = (await grid.run("a1", ["show", `os:${number}`])).find(({ event }) => event === "image")
    const { layers } = shown as unknown as { layers: PublishedLayer[] }
    const image = { name: `os:${number}`, layers }
    this.all.push(image)
    return image
  }

  /** Which of these servers have each image on disk, whole and as it was signed. */
  async copies(among: readonly string[]): Promise<Map<PublishedImage, string[]>> {
    const found = new Map<PublishedImage, string[]>(this.all.map((image) => [image, []]))
    for (const name of among)
      for (const image of this.all) {
        const whole = await Promise.all(image.layers.map((layer) => isWhole(this.fileOf(name, layer), layer)))
        if (whole.every(Boolean)) found.get(image)?.push(name)
      }
    return found
  }

  /** Where a server keeps a layer's bytes. */
  fileOf(server: string, { infohash }: PublishedLayer): string {
    return join(this.#grid.home(server), "layers", infohash, "layer.age")
  }
}

export function sealedBytesOf(image: PublishedImage): number {
  return image.layers.reduce((sum, layer) => sum + layer.sealedBytes, 0)
}

async function isWhole(path: string, { sealedSha256 }: PublishedLayer): Promise<boolean> {
  if (!existsSync(path)) return false
  const digest = createHash("sha256")
  await pipeline(createReadStream(path), digest)
  return digest.digest("hex") === sealedSha256
}
