/** The group that a grant is to be sealed to: one of the own site, or of a site that this one has an agreement with. */
import type { GroupKey } from "#crypto/grant.ts"
import type { Catalog } from "#trust/catalog.ts"
import { groupName } from "#core/identifiers.ts"
import { FederatedCatalogs } from "#member/federated-catalogs.ts"
import { groupOf } from "./groups.ts"
import type { OwnServerParts } from "./own-server.ts"

/**
 * @param name `GROUP`, or `SITE/GROUP`
 * @throws {GridError} GROUP_UNKNOWN, SITE_UNKNOWN
 */
export async function granteeOf(parts: OwnServerParts, own: Catalog, name: string): Promise<GroupKey> {
  const [first = "", second] = name.split("/")
  if (second === undefined) return groupOf(own.site, groupName(first))
  const federated = await FederatedCatalogs.open({ ...parts, own: () => own })
  return { ...groupOf(federated.catalogOf(first).site, groupName(second)), name }
}
