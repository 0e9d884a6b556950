/** How long to wait before a server that died is started again, and when to leave it alone. */

export const FIRST_DELAY_MS = 500;
export const LONGEST_DELAY_MS = 30_000;
/** A server that lived this long was well: its death starts a new count. */
export const WELL_AFTER_MS = 60_000;
export const MOST_DEATHS = 6;

export class BackOff {
  #deaths = 0;

  /** Milliseconds until the next start, after a life of `livedMs`; undefined: it died too often, leave it. */
  died(livedMs: number): number | undefined {
    this.#deaths = livedMs >= WELL_AFTER_MS ? 1 : this.#deaths + 1;
    if (this.#deaths >= MOST_DEATHS) {
      return undefined;
    }
    return Math.min(FIRST_DELAY_MS * 2 ** (this.#deaths - 1), LONGEST_DELAY_MS);
  }

  /** The user asked for a start: what was before is forgotten. */
  reset(): void {
    this.#deaths = 0;
  }
}
