/**
 * What a server must remember across a kill -9, in one embedded database: the uses of invites, the layers whose whole
 * SHA-256 was checked, and what it saw of its fellows' audit logs. Each statement is durable before it returns (WAL with synchronous=FULL).
 */
import { DatabaseSync } from "node:sqlite"
import { GridError } from "#core/errors.ts"
import { parseJson } from "#core/schema.ts"
import { readDeployment, type AuditHead, type ClaimRequest, type Deployment } from "#core/wire.ts"
import type { KnownClaim } from "./claims.ts"
import { keyOf } from "./deployment-table.ts"

/** Heads of each fellow's audit log that are kept: all of the newest, and of those before them the last of each hour. */
const NEWEST_HEADS_KEPT = 1_000
const HOURLY_HEADS_KEPT = 8_000
const DEPLOYMENT_BYTES_MAX = 16 * 1024

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
      CREATE TABLE IF NOT EXISTS unneeded_layers (infohash TEXT PRIMARY KEY, since_ms INTEGER NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS deployments (key TEXT PRIMARY KEY, heard_at_ms INTEGER NOT NULL, deployment TEXT NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS audit_heads (
        place INTEGER PRIMARY KEY, member_id TEXT NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL, at_ms INTEGER NOT NULL,
        signature TEXT NOT NULL
      ) STRICT;
      CREATE INDEX IF NOT EXISTS audit_heads_of_member ON audit_heads (member_id, place);
    `)
  }

  /** What clients said of their deploys, the least lately heard first. What can't be read of it is left out. */
  deployments(): Deployment[] {
    return this.#database
      .prepare("SELECT deployment FROM deployments ORDER BY heard_at_ms")
      .all()
      .flatMap((row) => readKept(String(row["deployment"])))
  }

  /** In one transaction. */
  saveDeployments(kept: readonly Deployment[], gone: readonly string[]): void {
    this.#database.exec("BEGIN")
    try {
      const put = this.#database.prepare("INSERT OR REPLACE INTO deployments VALUES (?, ?, ?)")
      for (const deployment of kept) put.run(keyOf(deployment), deployment.heardAtMs, JSON.stringify(deployment))
      const remove = this.#database.prepare("DELETE FROM deployments WHERE key = ?")
      for (const key of gone) remove.run(key)
      this.#database.exec("COMMIT")
    } catch (error) {
      this.#database.exec("ROLLBACK")
      throw error
    }
  }

  /** Whether it answers. @throws when it does not */
  ask(): void {
    this.#database.prepare("SELECT count(*) FROM (SELECT 1 FROM whole_layers LIMIT 1)").get()
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

  /** Layers that were found to be unneeded, and since when (Unix ms). */
  unneededLayers(): Map<string, number> {
    const rows = this.#database.prepare("SELECT infohash, since_ms FROM unneeded_layers").all()
    return new Map(rows.map((row) => [String(row["infohash"]), Number(row["since_ms"])]))
  }

  /** These are unneeded now, and no others; those that were so before keep their time. */
  recordUnneededLayers(infohashes: readonly string[], nowMs: number): void {
    const before = this.unneededLayers()
    const now = new Set(infohashes)
    for (const infohash of before.keys())
      if (!now.has(infohash)) this.#database.prepare("DELETE FROM unneeded_layers WHERE infohash = ?").run(infohash)
    for (const infohash of now)
      if (!before.has(infohash)) this.#database.prepare("INSERT INTO unneeded_layers VALUES (?, ?)").run(infohash, nowMs)
  }

  /** Keeps what a fellow's audit log looked like, as the last that was seen of it. */
  recordAuditHead({ memberId, seq, hash, atMs, signature }: AuditHead): void {
    this.#database
      .prepare("INSERT INTO audit_heads (member_id, seq, hash, at_ms, signature) VALUES (?, ?, ?, ?, ?)")
      .run(memberId, seq, hash, atMs, signature)
    this.#database
      .prepare(
        `DELETE FROM audit_heads WHERE member_id = ?1
         AND place NOT IN (SELECT place FROM audit_heads WHERE member_id = ?1 ORDER BY place DESC LIMIT ${NEWEST_HEADS_KEPT})
         AND place NOT IN (SELECT max(place) FROM audit_heads WHERE member_id = ?1 GROUP BY at_ms / 3600000
                           ORDER BY 1 DESC LIMIT ${HOURLY_HEADS_KEPT})`,
      )
      .run(memberId)
  }

  /** What was seen of a fellow's audit log, the oldest first. */
  auditHeads(memberId: string): AuditHead[] {
    return this.#database.prepare("SELECT * FROM audit_heads WHERE member_id = ? ORDER BY place").all(memberId).map(auditHead)
  }

  /** What was seen of it last; null before the first time. */
  lastAuditHead(memberId: string): AuditHead | null {
    const row = this.#database.prepare("SELECT * FROM audit_heads WHERE member_id = ? ORDER BY place DESC LIMIT 1").get(memberId)
    return row === undefined ? null : auditHead(row)
  }

  close(): void {
    this.#database.close()
  }
}

function auditHead(row: Record<string, unknown>): AuditHead {
  return {
    memberId: String(row["member_id"]),
    seq: Number(row["seq"]),
    hash: String(row["hash"]),
    atMs: Number(row["at_ms"]),
    signature: String(row["signature"]),
  }
}

/** Null, as an empty list, where an earlier version wrote another shape. */
function readKept(text: string): Deployment[] {
  try {
    return [readDeployment(parseJson(Buffer.from(text), DEPLOYMENT_BYTES_MAX, "STATE_DAMAGED", "deployments"))]
  } catch (error) {
    if (error instanceof GridError) return []
    throw error
  }
}
