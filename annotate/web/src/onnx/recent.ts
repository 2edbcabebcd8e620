/** Few values by key, of which the ones that weren't used for the longest time are forgotten. */

/** Images, or views of one, of which it is kept what the network sees: about 10 MB each. */
const MOST = 6;

export class Recent<Value> {
  private readonly values = new Map<string, Value>();

  get(key: string): Value | undefined {
    const value = this.values.get(key);
    if (value !== undefined) this.set(key, value);
    return value;
  }

  delete(key: string): void {
    this.values.delete(key);
  }

  set(key: string, value: Value): void {
    this.values.delete(key);
    this.values.set(key, value);
    if (this.values.size > MOST) this.values.delete(this.values.keys().next().value!);
  }
}
