import type { Empty } from "./types.ts";

/** Both paths are absolute; with a base, that directory is the path's root. */
export interface FilePlaceMessage {
  readonly container_id: string;
  readonly path: string;
  readonly base: string;
}

export type FileTypeName = "FILE" | "DIRECTORY" | "LINK" | "FIFO" | "SOCKET" | "BLOCK" | "CHARACTER";

export interface FileStatMessage {
  readonly name: string;
  readonly type: FileTypeName;
  readonly size: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modified_ms: string;
  readonly target: string;
  readonly identity: string;
  readonly links: string;
}

export interface FileAttributesMessage {
  readonly has_mode: boolean;
  readonly mode: number;
  readonly has_owner: boolean;
  /** -1 leaves it. */
  readonly uid: string;
  readonly gid: string;
  readonly has_modified: boolean;
  readonly modified_ms: string;
}

export interface PlaceRequest {
  readonly place: FilePlaceMessage | null;
}

export interface StatFileRequest extends PlaceRequest {
  readonly follow: boolean;
}

export interface ListDirectoryRequest extends PlaceRequest {
  readonly after: string;
  readonly limit: number;
}

export interface ListDirectoryResponse {
  readonly entries: readonly FileStatMessage[];
  readonly more: boolean;
}

export interface ReadFileRequest extends PlaceRequest {
  readonly offset: string;
  readonly length: number;
  readonly identity: string;
}

export interface ReadFileResponse {
  readonly data: Uint8Array;
  readonly identity: string;
}

export interface WriteFileRequest extends PlaceRequest {
  readonly mode: "REPLACE" | "IN_PLACE" | "APPEND";
  readonly staged: string;
  readonly offset: string;
  readonly data: Uint8Array;
  readonly last: boolean;
  readonly discard: boolean;
  readonly attributes: FileAttributesMessage | null;
}

export interface WriteFileResponse {
  readonly staged: string;
}

export interface MakeDirectoryRequest extends PlaceRequest {
  readonly recursive: boolean;
  readonly attributes: FileAttributesMessage | null;
}

export interface MakeLinkRequest extends PlaceRequest {
  readonly target: string;
  readonly hard: boolean;
}

export interface SetAttributesRequest extends PlaceRequest {
  readonly attributes: FileAttributesMessage | null;
}

export interface RemoveFileRequest extends PlaceRequest {
  readonly recursive: boolean;
}

export interface RenameFileRequest extends PlaceRequest {
  readonly to: string;
}

export interface WatchDirectoryResponse {
  readonly watch: string;
}

export interface FileWatchRequest {
  readonly container_id: string;
  readonly watch: string;
}

export interface FileEventMessage {
  readonly type: "CHANGE" | "RENAME" | "OVERFLOW";
  readonly name: string;
}

export interface FileEventsMessage {
  readonly events: readonly FileEventMessage[];
  readonly ended: boolean;
}

/** Request and response of the calls of `tapvisor.Files`. */
export interface FileCalls {
  StatFile: [StatFileRequest, FileStatMessage];
  ListDirectory: [ListDirectoryRequest, ListDirectoryResponse];
  ReadFile: [ReadFileRequest, ReadFileResponse];
  WriteFile: [WriteFileRequest, WriteFileResponse];
  MakeDirectory: [MakeDirectoryRequest, Empty];
  MakeLink: [MakeLinkRequest, Empty];
  SetAttributes: [SetAttributesRequest, Empty];
  RemoveFile: [RemoveFileRequest, Empty];
  RenameFile: [RenameFileRequest, Empty];
  WatchDirectory: [PlaceRequest, WatchDirectoryResponse];
  NextFileEvents: [FileWatchRequest, FileEventsMessage];
  UnwatchDirectory: [FileWatchRequest, Empty];
}
