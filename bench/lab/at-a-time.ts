/**
 * Does `work` for each item, so many at a time. After a failure no more are begun; settles when all that were begun have settled, so that nothing goes on behind the back of whoever
 * clears up.
 * @throws what the first that failed threw
 */
export async function atATime<Item>(count: number, items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const waiting = [...items]
  const workSome = async () => {
    try {
      for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item)
    } finally {
      waiting.length = 0
    }
  }
  const outcomes = await Promise.allSettled(Array.from({ length: count }, workSome))
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason
}
