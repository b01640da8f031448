/** Iterating over what may never yield again. */

/**
 * Yields what `source` does until `signal` aborts, and then throws its reason at once, even while `source` is silent.
 * Closes `source` at the end, without waiting for it when it was silent.
 */
export async function* untilAborted<Item>(source: AsyncIterable<Item>, signal: AbortSignal): AsyncGenerator<Item, void, void> {
  signal.throwIfAborted()
  const iterator = source[Symbol.asyncIterator]()
  let giveUp: ((reason: unknown) => void) | null = null
  const abort = (): void => giveUp?.(signal.reason)
  signal.addEventListener("abort", abort, { once: true })
  let ended = false
  try {
    for (;;) {
      const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<Item>>()
      giveUp = reject
      iterator.next().then(resolve, (error: unknown) => {
        ended = true
        reject(error)
      })
      const next = await promise
      giveUp = null
      if (next.done === true) {
        ended = true
        return
      }
      yield next.value
      signal.throwIfAborted()
    }
  } finally {
    signal.removeEventListener("abort", abort)
    if (!ended) {
      const closing = iterator.return?.()
      // A `next` that is still out comes first: who was silent for it may be silent for ever.
      if (giveUp === null) await closing
      else closing?.catch(() => {})
    }
  }
}
