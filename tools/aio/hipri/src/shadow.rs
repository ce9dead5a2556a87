// SPDX-License-Identifier: GPL-2.0-only

//! The second of the kernel's contexts that serve one of the program's, made when it is needed.

use aio_abi::ContextId;

use crate::context::{Context, Role};
use crate::system::{SignalsBlocked, System};

/// Why there is no shadow side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoShadow {
    /// The visible side has another role than was thought: look again.
    RoleChanged,
    /// The context is being destroyed.
    Dead,
    /// The system has no room for it: `fs.aio-max-nr`.
    NoRoom,
}

/// The shadow side of a context whose visible side has this role; it is made if there is none.
///
/// # Errors
///
/// Why there is none.
pub fn shadow(context: &Context, role: Role, system: &impl System) -> Result<ContextId, NoShadow> {
    if let Some(id) = context.shadow() {
        return Ok(id);
    }
    if context.settled_role(system) != role {
        return Err(NoShadow::RoleChanged);
    }
    // A handler that ended the wait of another call by a jump would leave a context behind.
    let _blocked = SignalsBlocked::new(system);
    let id = set_up(context.events(), system).ok_or(NoShadow::NoRoom)?;
    if role == Role::Plain && !hide_ring(context, system) {
        system.destroy(id);
        return Err(NoShadow::Dead);
    }
    context.adopt_shadow(id).map_or_else(
        |other| {
            system.destroy(id);
            other.ok_or(NoShadow::Dead)
        },
        |()| Ok(id),
    )
}

/// Makes a context of the size of the visible one.
///
/// Where the system's limit does not allow that, one that counts as a single event: the kernel
/// rounds it up to a page of them.
fn set_up(events: u32, system: &impl System) -> Option<ContextId> {
    let size = system.set_up(events);
    size.or_else(|_| system.set_up(1)).ok()
}

/// The visible ring will have part of the events only, so nobody must take it for empty. Fails
/// where the context is being destroyed.
fn hide_ring(context: &Context, system: &impl System) -> bool {
    // SAFETY: the ring stays meanwhile.
    let hidden = context.with_ring(|id| unsafe { system.hide_ring(id) });
    context.forget_in_flight();
    hidden.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Side;
    use crate::played::{Played, VISIBLE};

    #[test]
    fn it_is_made_once_and_as_large_as_the_other() {
        let (context, played) = Played::with_context();
        context.decide_plain();
        let id = shadow(context, Role::Plain, &played).unwrap();
        assert_eq!(shadow(context, Role::Plain, &played), Ok(id));
        assert_eq!(context.on(Side::Shadow), Some(id));
        assert_eq!(*played.set_up.borrow(), [context.events()]);
    }

    #[test]
    fn the_ring_is_hidden_where_it_will_miss_events() {
        for (role, hidden) in [(Role::Plain, vec![VISIBLE]), (Role::Polled, vec![])] {
            let (context, played) = Played::with_context();
            match role {
                Role::Plain => drop(context.decide_plain()),
                _ => drop(context.try_to_poll(|| (), |()| true)),
            }
            shadow(context, role, &played).unwrap();
            assert_eq!(*played.hidden.borrow(), hidden);
        }
    }

    #[test]
    fn a_full_system_has_room_for_a_small_one_or_none() {
        let (context, played) = Played::with_context();
        context.decide_plain();
        played.room_for_contexts.set(0);
        let none = shadow(context, Role::Plain, &played);
        assert_eq!(none, Err(NoShadow::NoRoom));
        assert!(played.hidden.borrow().is_empty());
        played.room_for_contexts.set(1);
        assert!(shadow(context, Role::Plain, &played).is_ok());
        assert_eq!(*played.set_up.borrow(), [1]);
    }

    #[test]
    fn none_is_left_of_a_context_that_is_being_destroyed() {
        let (context, played) = Played::with_context();
        context.decide_plain();
        context.end(&played);
        let none = shadow(context, Role::Plain, &played);
        assert_eq!(none, Err(NoShadow::Dead));
        assert_eq!(played.contexts(), [VISIBLE]);
    }

    #[test]
    fn a_wrong_role_makes_nothing() {
        let (context, played) = Played::with_context();
        let none = shadow(context, Role::Plain, &played);
        assert_eq!(none, Err(NoShadow::RoleChanged));
        assert!(played.set_up.borrow().is_empty());
    }
}
