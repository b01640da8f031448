/** Tar archives made by hand, block by block, for tests of what no tar program would write. */

/** One ustar entry; `type` as in POSIX.1-2017. */
export function entry(name: string, type: string, options: { link?: string; content?: string; mode?: string } = {}): Buffer {
  const content = Buffer.from(options.content ?? "")
  const block = Buffer.alloc(512)
  block.write(name, 0, 100, "latin1")
  block.write(options.mode ?? "0000755", 100)
  block.write("0000000", 108)
  block.write("0000000", 116)
  block.write(content.length.toString(8).padStart(11, "0"), 124)
  block.write("00000000001", 136)
  block.write(" ".repeat(8), 148)
  block.write(type, 156)
  block.write(options.link ?? "", 157, 100, "latin1")
  block.write("ustar\u000000", 257, "latin1")
  if (type === "3" || type === "4") for (const at of [329, 337]) block.write("0000001", at)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1")
  return Buffer.concat([block, content, Buffer.alloc((512 - (content.length % 512)) % 512)])
}

/** The top directory, which every archive begins with. */
export const TOP = entry("./", "5")
export const END = Buffer.alloc(1024)
