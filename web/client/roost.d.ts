// Types of @roostws/client, the client of the Roost push server.

/** A place in a channel's history: the epoch of the history, and the number of a message in it. */
export interface Position {
  epoch: string;
  offset: number;
}

/** What was published to a channel, or sent to this connection alone. */
export interface Message<T = any> {
  /** Missing if it was sent to this connection alone. */
  channel?: string;
  /** Missing without history. */
  position?: Position;
  /** A Uint8Array where the publisher gave binary data. */
  data: T;
  /** What the publisher gave for channels that keep the latest message of each key. */
  key?: string;
  /** The user that published it; missing for the application. */
  from?: string;
}

export interface HistoryMessage<T = any> extends Message<T> {
  /** When it was published, in Unix milliseconds. */
  time: number;
}

/** What happened to a subscription, in order with its messages. */
export interface ChannelEvents<T = any> {
  message: Message<T>;
  /**
   * Messages come from now on: after the first subscribe, and after each lost
   * connection. recovered: nothing was missed, all of it follows. Otherwise load your
   * state: what comes is newer than position.
   */
  subscribed: { channel: string; position: Position | null; recovered: boolean };
  /** The subscription has ended for good, by the server. */
  unsubscribed: { channel: string; error: RoostError };
  /** The messages from to to will not come, or only some of them: this client was too slow for the channel. */
  gap: { channel: string; from: number; to: number };
  /** Another connection has come, or gone. */
  join: { channel: string; client: string; user?: string };
  leave: { channel: string; client: string; user?: string };
  /** The subscription was refused for now; the client tries again in retryIn milliseconds. */
  error: { channel: string; error: RoostError; retryIn: number };
}

export type State =
  /** An attempt begins. */
  | { state: 'connecting'; attempt: number }
  /** The server has let the client in. data is what the application has replied to the connect. */
  | { state: 'connected'; client: string; user?: string; data?: any; transport: Transport }
  /** The connection is lost, or the attempt was in vain; the next one begins in retryIn milliseconds. */
  | { state: 'disconnected'; error: RoostError; retryIn: number }
  /** The last state: close was called, or trying again would be of no use; error says what to do. */
  | { state: 'closed'; error: RoostError };

/** Events of the client. Those of channels are of the ones that the server has subscribed by itself. */
export interface RoostEvents extends Omit<ChannelEvents, 'error'> {
  state: State;
  /** The server has refused something that nobody waits for. */
  error: { channel?: string; error: RoostError; retryIn?: number };
}

export type Transport = 'websocket' | 'sse' | 'poll' | 'tab';

/**
 * Why something failed. type says whose code it is:
 * server: an error of the protocol (docs/protocol.md, section 9), or the application's own;
 * close: a close code; http: an HTTP status;
 * client: one of closed, disconnected, timeout, unauthorized, not_spoken, refused, bad_request,
 * too_many_pending, unsubscribed, suspended. disconnected of a command: whether it was carried
 * out is not known.
 */
export class RoostError extends Error {
  constructor(type: 'server' | 'close' | 'http' | 'client', code: number | string, message: string);
  readonly type: 'server' | 'close' | 'http' | 'client';
  readonly code: number | string;
  /** When it may be tried again, in seconds, if the server has said so. */
  readonly retry?: number;
  /** The reason of a close. */
  readonly reason?: string;
  /** Whether the same may succeed later. */
  readonly temporary: boolean;
}

export interface Options {
  /** Says who the client is. Without it and getToken the client is anonymous. */
  token?: string;
  /**
   * Returns a token: for the first connection if there is no token, before the one in use
   * expires, and after the server has refused one. null, or an error whose code is
   * 'unauthorized', says that there is none and will be none: the client ends.
   */
  getToken?(context: { signal: AbortSignal }): Promise<string | null> | string | null;
  /** The same for each channel that is subscribed; '' for channels that need none. */
  getChannelToken?(channel: string, context: { signal: AbortSignal }): Promise<string | null> | string | null;
  /** What the client is, for the server's logs: 'shop-web/4.2'. */
  name?: string;
  /** Any JSON, for the application, with each connect. */
  data?: any;
  /** Positions of channels that the server subscribes by itself, as an earlier client has left them. */
  resume?: Record<string, Position>;
  /** In the order in which they are tried; all three if missing. */
  transports?: ('websocket' | 'sse' | 'poll')[];
  /** Where the fallbacks are, relative to the URL: '/v1/' if missing. */
  fallback?: string;
  /**
   * One connection for all pages of the origin with the same URL and the same value here; true
   * or a name of your own, such as the user's. Only where there are Web Locks and BroadcastChannel.
   */
  shared?: boolean | string;
  /** Bounds of the random delay before another attempt, in milliseconds: 1000 and 30000. */
  reconnectMin?: number;
  reconnectMax?: number;
  /** How long a command waits for a connection and its reply, in milliseconds: 15000. */
  timeout?: number;
  /** How long a WebSocket may take before a fallback is tried beside it, in milliseconds: 1000. */
  patience?: number;
  /** How often a better transport is tried beside a fallback, in milliseconds: 600000. */
  climbAfter?: number;
  /** For fetch: 'include' sends cookies to another origin. */
  credentials?: RequestCredentials;
  /** In place of the global ones; Node.js before 22 has no WebSocket. */
  WebSocket?: any;
  fetch?: typeof fetch | null;
}

export interface CommandOptions {
  /** In milliseconds; 0 is without bound. Options.timeout if missing. */
  timeout?: number;
  signal?: AbortSignal;
}

export interface HistoryOptions extends CommandOptions {
  /** Begins behind a position (before it, with reverse). */
  since?: Position | null;
  /** 100 if missing. */
  limit?: number;
  /** The newest first. */
  reverse?: boolean;
}

export interface HistoryPage<T = any> {
  /** That of the newest message. */
  position: Position;
  messages: HistoryMessage<T>[];
  /** There are more in that direction. */
  more: boolean;
  /** Messages that belong here are forgotten. */
  gap: boolean;
}

export interface Presence {
  /** How many connections subscribe. */
  clients: number;
  /** Some of them. */
  members: { client: string; user?: string; info?: any }[];
  /** There are more. */
  truncated: boolean;
}

declare class Emitter<E> {
  /** Calls listener with each event of the type. Returns a function that ends it. */
  on<K extends keyof E>(type: K, listener: (event: E[K]) => void): () => void;
  once<K extends keyof E>(type: K, listener: (event: E[K]) => void): () => void;
  off<K extends keyof E>(type: K, listener: (event: E[K]) => void): void;
}

/** A channel of a client, from Roost.channel. */
export class Channel<T = any> extends Emitter<ChannelEvents<T>> {
  private constructor();
  readonly name: string;
  readonly state: 'unsubscribed' | 'subscribing' | 'subscribed';
  /** Of the last message whose listeners have returned. Kept, it is what resume wants. */
  readonly position: Position | null;
  /** Subscribes, over any number of connections; resolves when the server agrees. */
  subscribe(options?: { resume?: Position | null; signal?: AbortSignal }): Promise<this>;
  /** Nothing of the channel is delivered from now on. */
  unsubscribe(): void;
  publish(data: any, options?: CommandOptions & { key?: string }): Promise<Position | null>;
  history(options?: HistoryOptions): Promise<HistoryPage<T>>;
  presence(options?: CommandOptions & { limit?: number }): Promise<Presence>;
  /** Tells the application that everything up to position was processed. */
  ack(position?: Position, options?: CommandOptions): Promise<void>;
}

/** A connection to a Roost server, which is made again when it is lost. */
export class Roost extends Emitter<RoostEvents> {
  /** Begins to connect at once, to ws://host/path or wss://; http: and relative URLs do, too. */
  constructor(url: string | URL, options?: Options);
  readonly state: State['state'];
  /** What the connection uses; undefined while there is none. */
  readonly transport?: Transport;
  /** The connection's name at the server, and the identity that the server has given it. */
  readonly client?: string;
  readonly user?: string;
  readonly stats: { connects: number; messages: number; duplicates: number; missed: number };
  /** Resolves when the client is connected; rejects when it is closed. */
  ready(options?: { signal?: AbortSignal }): Promise<this>;
  /** The same object for the same name. */
  channel<T = any>(name: string): Channel<T>;
  /** channel, on and subscribe in one. A function listens for messages. */
  subscribe<T = any>(
    channel: string,
    listeners?: ((message: Message<T>) => void) | { [K in keyof ChannelEvents<T>]?: (event: ChannelEvents<T>[K]) => void },
    options?: { resume?: Position | null; signal?: AbortSignal },
  ): Channel<T>;
  /** Resolves when the message has its place in the channel's order; null without history. */
  publish(channel: string, data: any, options?: CommandOptions & { key?: string }): Promise<Position | null>;
  history<T = any>(channel: string, options?: HistoryOptions): Promise<HistoryPage<T>>;
  presence(channel: string, options?: CommandOptions & { limit?: number }): Promise<Presence>;
  /** Asks the application. */
  call<T = any>(method: string, data?: any, options?: CommandOptions): Promise<T>;
  /** Ends the client, and every command that waits. */
  close(): void;
}
