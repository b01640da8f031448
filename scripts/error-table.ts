/** Prints the README's table of error codes, made from core/errors.ts; a test compares the two. */
import { errorTable } from "../test/house/error-table.ts"

console.log(errorTable().join("\n"))
