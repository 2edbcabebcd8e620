/** Sends what this page, and closed ones, changed: each change until the service has it or refuses it. */

import type { Signal } from "@preact/signals";

import { RoleError, sentence } from "../backend";
import { textOf } from "../labels/labeling";
import { ConflictError, isPassing, MissingError, pathOf, type ProjectApi } from "./api";
import { Loop } from "./connection";
import type { Follower } from "./following";
import { wordsOf } from "./keeping";
import type { Outbox, QueuedEntry, Unsent, UnsentProject, UnsentRemoval, UnsentWork } from "./outbox";
import { baseOf, changedRows, collides, rebased, remaining } from "./rebasing";
import { type Choice, imageEntry, type ImageState, type Project, type Role, ROLES, withChange } from "./structure";
import { entryOf } from "./words";

export class Sender {
  private readonly outbox: Outbox;
  private readonly sending: Loop;

  constructor(
    private readonly follower: Follower,
    private readonly role: Signal<Role>,
  ) {
    this.outbox = follower.outbox;
    this.sending = new Loop(follower.connection, () => this.sendNext(), true);
  }

  send(): void {
    if (this.follower.watcher) this.sending.start();
  }

  /** Sends what was refused again. */
  retry(entry: QueuedEntry): void {
    void this.outbox.mark(entry, null).catch(() => {});
    this.send();
  }

  /** Sends work again that was refused while its image was in the trash. */
  retryMissing(image: string): void {
    for (const entry of this.outbox.of(image)) if (entry.unsent.kind === "work" && entry.refused !== null) this.retry(entry);
  }

  private async sendNext(): Promise<boolean> {
    const entry = this.outbox.next((unsent) => this.hasWords(unsent));
    if (!entry) return false;
    try {
      // a closed page's database knows what was sent
      await entry.written.catch(() => {});
      await this.deliver(entry);
    } catch (failure) {
      if (isPassing(failure)) {
        this.outbox.postpone(entry);
        throw failure;
      }
      this.refuse(entry, failure);
    }
    this.follower.connection.reached();
    return true;
  }

  /** Whether the service has the words of a change; those that it refused may still come. */
  private hasWords(unsent: Unsent): boolean {
    const { project } = this.outbox;
    if (!project || unsent.kind !== "work") return true;
    const ids = new Set(this.follower.served.words.map(({ id }) => id));
    const { options, words } = project.unsent.project;
    const background = options.background === null ? undefined : entryOf(words, options.background);
    return (!background || ids.has(background.id)) && wordsOf(unsent).every((id) => ids.has(id));
  }

  private deliver(entry: QueuedEntry): Promise<void> {
    const { kind } = entry.unsent;
    if (kind === "project") return this.deliverProject(entry as QueuedEntry<UnsentProject>);
    return kind === "work" ? this.deliverWork(entry as QueuedEntry<UnsentWork>) : this.deliverRemoval(entry as QueuedEntry<UnsentRemoval>);
  }

  private refuse(entry: QueuedEntry, failure: unknown): void {
    const { unsent } = entry,
      { images, watcher } = this.follower;
    if (failure instanceof RoleError) {
      const needed = unsent.kind === "removal" && unsent.isRemoved ? "administer" : "annotate";
      this.role.value = ROLES[ROLES.indexOf(needed) - 1];
    }
    const isGone = failure instanceof MissingError && unsent.kind === "work";
    // what a model found can be found again
    if (isGone && !unsent.edits && unsent.settled === undefined) return void this.outbox.drop(entry).catch(() => {});
    const reason = isGone ? `“${unsent.state.image}” was removed by somebody; put it back to go on with it.` : sentence(failure);
    void this.outbox.mark(entry, reason).catch(() => {});
    if (unsent.kind !== "removal") return;
    // the service still has it, or doesn't
    if (unsent.isRemoved) watcher!.onAdded(imageEntry(images.get(unsent.image)?.state ?? unsent.state));
    else watcher!.onRemoved(unsent.image);
  }

  /** Sends a version of a change, and remembers that it may be on the service; a conflict is returned. */
  private async put<Kind extends Unsent, Answer>(
    entry: QueuedEntry<Kind>,
    sent: Kind,
    request: (api: ProjectApi) => Promise<Answer>,
  ): Promise<Answer | ConflictError> {
    const isAgain = entry.sent !== null;
    entry.sent = sent;
    try {
      return await request(this.follower.api.as(entry.by));
    } catch (failure) {
      const isConflict = failure instanceof ConflictError;
      // if it was sent before, a refusal doesn't say that it isn't there
      if (isConflict || (!isAgain && !isPassing(failure))) entry.sent = null;
      if (isConflict) return failure;
      throw failure;
    }
  }

  private async deliverProject(entry: QueuedEntry<UnsentProject>): Promise<void> {
    const sent = entry.sent ?? entry.unsent;
    const answer = await this.put(entry, sent, (api) => api.put(sent.project, sent.base.revision, sent.change));
    // before anything is taken as unsent, what was typed meanwhile is
    this.follower.watcher!.context();
    entry.sent = null;
    if (answer instanceof ConflictError) return this.follower.takeProject(answer.current as Project, sent.base);
    await this.follower.takeProject(answer, sent.project);
  }

  private async deliverWork(entry: QueuedEntry<UnsentWork>): Promise<void> {
    const { follower } = this,
      watcher = follower.watcher!;
    const sent = entry.sent ?? entry.unsent;
    const { image: id, base, change } = sent;
    const known = await follower.known(id);
    const work = withChange(known.work, sent);
    const context = watcher.context();
    // it may have words that the service doesn't know yet
    if (!this.hasWords(sent)) return;
    // what the model found is there unless it changed
    const hasDraft = Boolean(sent.draft) || base.revision === 0;
    const rule = textOf(context.rule);
    const rows = hasDraft || known.rule !== rule ? null : changedRows(known, sent, work);
    const content = await follower.packer.pack(sent.state, work, context, hasDraft, rows);
    const state = await this.put(entry, sent, (api) => api.putWork(id, content, base.revision, work.settled !== null, hasDraft, change, rows));
    if (state instanceof ConflictError) return void this.resolved(entry);
    watcher.context();
    const record = follower.images.get(id);
    const isOlder = record !== undefined && record.state.revision > state.revision;
    // others may have gone on from it
    const isNewest = state.change === change && !isOlder;
    if (record) record.isStale = !isNewest || !entry.isShown;
    if (record && !isOlder) record.state = state;
    // of an older one the number isn't known: what is left is put together with theirs
    const next = baseOf(isNewest ? state.revision : base.revision, work.edits, state);
    if (entry.isShown) follower.remember(id, { revision: next.revision, work, rule });
    const left = remaining(entry.unsent, sent, next);
    entry.sent = null;
    if (left) return this.outbox.amend(entry, left);
    const dropped = this.outbox.drop(entry, work.edits, next.revision);
    if (isNewest) watcher.onState(id, state, false);
    await dropped;
    follower.follow(id);
  }

  private async deliverRemoval(entry: QueuedEntry<UnsentRemoval>): Promise<void> {
    const { change, image, isRemoved } = entry.unsent;
    const api = this.follower.api.as(entry.by);
    try {
      if (isRemoved) await api.json("DELETE", pathOf("images", image), { change });
      else {
        // of what was in the trash only the name is known
        const state = await api.json<ImageState>("POST", pathOf("restored", image), { change });
        this.follower.take(image, state);
        this.follower.watcher!.onState(image, state, true);
      }
    } catch (failure) {
      // somebody was faster
      if (!(failure instanceof MissingError)) throw failure;
    }
    const dropped = this.outbox.drop(entry);
    if (!isRemoved) this.retryMissing(image);
    await dropped;
  }

  /** Puts a change together with what others made of its image; other images don't wait for that. */
  private async resolved(entry: QueuedEntry<UnsentWork>): Promise<void> {
    entry.isHeld = true;
    try {
      await this.resolve(entry);
    } catch (failure) {
      if (!this.follower.connection.signal.aborted) this.refuse(entry, failure);
    }
    entry.isHeld = false;
    this.send();
    this.follower.follow(entry.unsent.image);
  }

  private async resolve(entry: QueuedEntry<UnsentWork>): Promise<void> {
    const { follower } = this,
      watcher = follower.watcher!;
    const { image: id, edits, settled, base } = entry.unsent;
    const theirs = await follower.connection.answer(() => follower.read(id, true));
    const their = baseOf(theirs.revision, theirs.work.edits, entry.unsent.state);
    const isCrowded = edits && collides(base, edits, their);
    const isLocked = theirs.work.settled !== null && settled !== null;
    let choice: Choice = "both";
    if (!edits && isLocked) choice = "theirs";
    else if (isLocked || isCrowded) {
      const mine = withChange(theirs.work, entry.unsent);
      choice = await watcher.choose({ id, by: theirs.state?.by ?? null, isDone: isLocked, mine, theirs: theirs.work });
    }
    await follower.idle(id);
    // from here on the user can't paint meanwhile
    const next = rebased(entry.unsent, theirs.work, theirs.state ?? null, choice);
    const written = next ? this.outbox.amend(entry, { ...(isLocked && { settled: null }), ...next }) : this.outbox.drop(entry);
    // a change that the page doesn't show doesn't hide what it shows
    if (entry.isShown) {
      follower.remember(id, theirs);
      watcher.onWork(id, withChange(theirs.work, next ? entry.unsent : undefined));
      if (!next && theirs.state) watcher.onState(id, theirs.state, true);
    }
    await written;
  }
}
