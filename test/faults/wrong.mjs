/** What no fault may lead to. */
export class Wrong extends Error {}
