package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// RejectedError says that the pipeline did not accept a bundle. What was in
// force still is.
type RejectedError struct {
	Name string
	// Code is the verdict, 0 where the cause is another one.
	Code Code
	// Err is the cause.
	Err error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("register %q: rejected: %s", e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *RejectedError) Unwrap() error { return e.Err }

// Register keeps a bundle that is given as the text of its manifest, in the
// format of bundle.yaml. It is put in force at once when the service is
// running, else at Start. The same text again does nothing; another text under
// the same name is another revision, judged as if it lay on disk.
//
// The error is that of registry.Memory.Set, or a *RejectedError, or the
// pipeline's. A manifest that does not parse is not kept; one that was
// rejected is, and tried again at the next Start.
func (s *Service) Register(ctx context.Context, manifest []byte) error {
	s.change.Lock()
	defer s.change.Unlock()
	name, old, err := s.memory.Set(manifest)
	if err != nil {
		return err
	}
	if bytes.Equal(old, manifest) {
		if r := s.rejected[name]; r != nil {
			return r
		}
		return nil
	}
	return s.load(ctx, name, old)
}

// RegisterAll registers manifests, as those of Discover, one after the other.
// The error joins those of all that were not accepted.
func (s *Service) RegisterAll(ctx context.Context, manifests [][]byte) error {
	var errs []error
	for _, m := range manifests {
		errs = append(errs, s.Register(ctx, m))
	}
	return errors.Join(errs...)
}

// Unregister takes a registered bundle out. Runs of it go on. A name that is
// not registered is no error.
func (s *Service) Unregister(ctx context.Context, name string) error {
	s.change.Lock()
	defer s.change.Unlock()
	old := s.memory.Delete(name)
	if old == nil {
		return nil
	}
	delete(s.rejected, name)
	return s.load(ctx, name, old)
}

// Reload has the pipeline look at the named commands again, or at all when
// none is named: for what lies on disk. The error is ErrNotRunning or the
// pipeline's; what is rejected is an event.
func (s *Service) Reload(ctx context.Context, names ...string) error {
	s.change.Lock()
	defer s.change.Unlock()
	if s.pipeline == nil {
		return s.notRunning("reload")
	}
	loading, err := s.pipeline.Load(ctx, names...)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	s.apply(loading)
	return nil
}

// load brings one name into force when the service is running. When the
// pipeline could not say, old, the manifest before, is registered again.
// Preconditions: change is held.
func (s *Service) load(ctx context.Context, name string, old []byte) error {
	if s.pipeline == nil {
		return nil
	}
	delete(s.rejected, name)
	loading, err := s.pipeline.Load(ctx, name)
	if err != nil {
		s.memory.Delete(name)
		if old != nil {
			_, _, undo := s.memory.Set(old)
			err = errors.Join(err, undo)
		}
		return fmt.Errorf("load %q: %w", name, err)
	}
	s.apply(loading)
	if r := s.rejected[name]; r != nil {
		return r
	}
	return nil
}
