/** The raw bytes inside a bech32 text (BIP 173), such as an age identity; its checksum is not looked at. */
const ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
const CHECKSUM_CHARACTERS = 6

export function bech32Bytes(text: string): Buffer {
  const digits = text.toLowerCase().slice(text.lastIndexOf("1") + 1, -CHECKSUM_CHARACTERS)
  const bytes: number[] = []
  let bits = 0
  let bitCount = 0
  for (const digit of digits) {
    bits = ((bits << 5) | ALPHABET.indexOf(digit)) & 0xfff
    bitCount += 5
    if (bitCount < 8) continue
    bitCount -= 8
    bytes.push((bits >> bitCount) & 0xff)
  }
  return Buffer.from(bytes)
}
