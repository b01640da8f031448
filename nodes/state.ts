/**
 * What a server must remember across a kill -9, in one embedded database: the uses of invites and the layers whose whole
 * SHA-256 was checked. Each statement is durable before it returns (WAL with synchronous=FULL).
 */
import { DatabaseSync } from "node:sqlite"
import type { ClaimRequest } from "#core/wire.ts"
import type { KnownClaim } from "./claims.ts"

export class ServerState {
  readonly #database: DatabaseSync

  constructor(path: string) {
    this.#database = new DatabaseSync(path)
    this.#database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      CREATE TABLE IF NOT EXISTS claims (
        invite_id TEXT NOT NULL, member_id TEXT NOT NULL, issued INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL,
        PRIMARY KEY (invite_id, member_id)
      ) STRICT;
      CREATE TABLE IF NOT EXISTS whole_layers (
        infohash TEXT PRIMARY KEY, sealed_sha256 TEXT NOT NULL, sealed_bytes INTEGER NOT NULL, verified_at_ms INTEGER NOT NULL
      ) STRICT;
    `)
  }

  claims(inviteId: string): KnownClaim[] {
    return this.#database
      .prepare("SELECT member_id, issued FROM claims WHERE invite_id = ?")
      .all(inviteId)
      .map((row) => ({ memberId: String(row["member_id"]), issued: row["issued"] === 1 }))
  }

  recordClaim(claim: ClaimRequest, issued: boolean): void {
    this.#database
      .prepare(
        `INSERT INTO claims VALUES (?, ?, ?, ?)
         ON CONFLICT (invite_id, member_id) DO UPDATE SET issued = max(issued, excluded.issued)`,
      )
      .run(claim.inviteId, claim.memberId, issued ? 1 : 0, claim.expiresAtMs)
  }

  /** Gives a claim back that was not issued. */
  withdrawClaim(inviteId: string, memberId: string): void {
    this.#database.prepare("DELETE FROM claims WHERE invite_id = ? AND member_id = ? AND issued = 0").run(inviteId, memberId)
  }

  /** Claims of invites that nobody can use any more need not be remembered. */
  forgetExpiredClaims(nowMs: number): void {
    this.#database.prepare("DELETE FROM claims WHERE expires_at_ms < ?").run(nowMs)
  }

  recordWholeLayer(layer: { readonly infohash: string; readonly sealedSha256: string; readonly sealedBytes: number }, nowMs: number): void {
    this.#database
      .prepare("INSERT OR REPLACE INTO whole_layers VALUES (?, ?, ?, ?)")
      .run(layer.infohash, layer.sealedSha256, layer.sealedBytes, nowMs)
  }

  forgetWholeLayer(infohash: string): void {
    this.#database.prepare("DELETE FROM whole_layers WHERE infohash = ?").run(infohash)
  }

  wholeLayers(): { infohash: string; sealedSha256: string; sealedBytes: number }[] {
    return this.#database
      .prepare("SELECT infohash, sealed_sha256, sealed_bytes FROM whole_layers")
      .all()
      .map((row) => ({
        infohash: String(row["infohash"]),
        sealedSha256: String(row["sealed_sha256"]),
        sealedBytes: Number(row["sealed_bytes"]),
      }))
  }

  close(): void {
    this.#database.close()
  }
}
