declare module "bencode" {
  /** Byte strings decode to Uint8Array; dictionaries to objects with string keys. */
  const bencode: { encode(value: unknown): Uint8Array; decode(bytes: Uint8Array): unknown }
  export default bencode
}
