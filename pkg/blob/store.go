package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// maxSinglePart bounds create-only puts: they must fit one request, since the
// condition does not hold for the completion of a multipart upload.
const maxSinglePart = 64 << 20

// Store is one bucket of an object store. It is safe for concurrent use.
type Store struct {
	client *minio.Client
	bucket string
	prefix string
}

// Info describes an object.
type Info struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
	ETag     string
}

// Open connects to the store and creates the bucket if it is missing.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	at, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("object store: endpoint %q: %w", cfg.Endpoint, err)
	}
	client, err := minio.New(at.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey.Reveal(), ""),
		Secure: at.Scheme == "https",
		Region: cfg.Region,
		// Without trailers, checksums over plain HTTP need the whole body
		// hashed before the first byte is sent.
		TrailingHeaders: true,
		BucketLookup:    minio.BucketLookupPath,
		// Ten, the default, hides an outage for half a minute; services retry
		// work themselves and say so.
		MaxRetries: 4,
	})
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", cfg.Endpoint, err)
	}
	s := &Store{client: client, bucket: cfg.Bucket, prefix: cfg.Prefix}
	if err := s.ensureBucket(ctx, cfg); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) ensureBucket(ctx context.Context, cfg Config) error {
	ok, err := s.client.BucketExists(ctx, s.bucket)
	if err != nil {
		return fmt.Errorf("object store %s, bucket %q: %w; check the endpoint and the keys, or run `descant doctor`",
			cfg.Endpoint, s.bucket, wrap("stat", s.bucket, err))
	}
	if ok {
		return nil
	}
	err = s.client.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: cfg.Region})
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && (answer.Code == "BucketAlreadyOwnedByYou" || answer.Code == "BucketAlreadyExists") {
		return nil // another service was quicker
	}
	if err != nil {
		return fmt.Errorf("create bucket %q: %w", s.bucket, wrap("put", s.bucket, err))
	}
	return nil
}

// Ready tells whether the store answers and the bucket is there.
func (s *Store) Ready(ctx context.Context) error {
	ok, err := s.client.BucketExists(ctx, s.bucket)
	if err != nil {
		return wrap("stat", s.bucket, err)
	}
	if !ok {
		return &Error{Op: "stat", Key: s.bucket, Kind: ErrNotFound, Err: errors.New("the bucket is gone")}
	}
	return nil
}

// Put writes size bytes of r under key, replacing what is there. size -1 means
// unknown and costs memory for parts.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := checkKey("put", key); err != nil {
		return err
	}
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+key, r, size, putOptions())
	return wrap("put", key, err)
}

// PutIfAbsent writes data under key in one request, or fails with [ErrExists]
// if the key is taken. It is how manifests are committed.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if err := checkKey("put", key); err != nil {
		return err
	}
	if len(data) > maxSinglePart {
		return &Error{Op: "put", Key: key, Err: fmt.Errorf("create-only object of %d bytes; at most %d fit one request", len(data), maxSinglePart)}
	}
	opts := putOptions()
	opts.DisableMultipart = true
	opts.SetMatchETagExcept("*")
	_, err := s.client.PutObject(ctx, s.bucket, s.prefix+key, bytes.NewReader(data), int64(len(data)), opts)
	return wrap("put", key, err)
}

func putOptions() minio.PutObjectOptions {
	return minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true}
}

// Get opens an object for reading. The caller closes it.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	if err := checkKey("get", key); err != nil {
		return nil, Info{}, err
	}
	body, answer, _, err := (&minio.Core{Client: s.client}).GetObject(ctx, s.bucket, s.prefix+key, minio.GetObjectOptions{})
	if err != nil {
		return nil, Info{}, wrap("get", key, err)
	}
	return &reader{body, key}, s.info(answer, key), nil
}

// Read returns a whole object of at most limit bytes.
func (s *Store) Read(ctx context.Context, key string, limit int64) ([]byte, error) {
	body, info, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if info.Size > limit {
		return nil, &Error{Op: "get", Key: key, Err: fmt.Errorf("%d bytes, at most %d are read here", info.Size, limit)}
	}
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != info.Size {
		return nil, &Error{Op: "get", Key: key, Kind: ErrUnavailable, Err: fmt.Errorf("got %d of %d bytes", len(data), info.Size)}
	}
	return data, nil
}

// Stat describes the object under key.
func (s *Store) Stat(ctx context.Context, key string) (Info, error) {
	if err := checkKey("stat", key); err != nil {
		return Info{}, err
	}
	answer, err := s.client.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, wrap("stat", key, err)
	}
	return s.info(answer, key), nil
}

// List returns the objects whose keys start with prefix, in the order of keys.
func (s *Store) List(ctx context.Context, prefix string) ([]Info, error) {
	var all []Info
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the lister's goroutine when we return early
	for object := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if object.Err != nil {
			return nil, wrap("list", prefix, object.Err)
		}
		all = append(all, s.info(object, strings.TrimPrefix(object.Key, s.prefix)))
	}
	return all, nil
}

// Delete removes the object under key; a key without an object is fine.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey("delete", key); err != nil {
		return err
	}
	err := wrap("delete", key, s.client.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{}))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (s *Store) info(o minio.ObjectInfo, key string) Info {
	return Info{Key: key, Size: o.Size, Modified: o.LastModified, ETag: o.ETag}
}

// checkKey refuses keys that some store would read as another key or as a
// folder of its file system.
func checkKey(op, key string) error {
	bad := func(why string) error {
		return &Error{Op: op, Key: key, Err: errors.New("bad key: " + why)}
	}
	switch {
	case key == "":
		return bad("it is empty")
	case len(key) > 900:
		return bad("it is longer than 900 bytes")
	case strings.HasPrefix(key, "/") || strings.HasSuffix(key, "/"):
		return bad("it starts or ends with a slash")
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return bad("it has an empty part, . or ..")
		}
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }) {
		return bad("it has a control character or a backslash")
	}
	return nil
}

// reader gives read errors of a body their key.
type reader struct {
	io.ReadCloser
	key string
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = &Error{Op: "get", Key: r.key, Kind: ErrUnavailable, Err: err}
	}
	return n, err
}
